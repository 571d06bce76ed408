"""The build on the real thing: Ray Data over phantom DICOM, killed half-way, and with bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from medclm.config import BuildConfig
from medclm.data import pipeline, plan, shards
from medclm.data.rejects import Reject
from medclm.errors import MedclmError, UsageError
from medclm.samples.phantom import write_phantom

IMAGES = 24


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, IMAGES, seed=5, size=96)
    return out


def config(phantom: Path, out: Path, **more) -> BuildConfig:
    known = {"segmenter": f"masks:{phantom}/masks", "shard_rows": 8, "batch_size": 4, "dataset": "phantom"}
    return BuildConfig(
        images=str(phantom / "images"),
        annotations=str(phantom / "annotations.json"),
        out=str(out),
        **{**known, **more},
    )


@pytest.fixture(scope="module")
def built(ray_cluster, phantom, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("built")
    return out, pipeline.build(config(phantom, out))


def test_every_image_becomes_one_row_in_order(built, phantom):
    out, manifest = built
    names = [entry["file_name"] for entry in json.loads((phantom / "annotations.json").read_text())["images"]]
    assert [r.image_id for r in shards.read_records(str(out))] == [Path(name).stem for name in names]
    assert (manifest["rows"], manifest["rejected"]) == (IMAGES, {})
    assert len(manifest["shards"]) == 3


def test_findings_are_linked_to_the_organ_that_the_phantom_put_them_in(built):
    findings = [f for r in shards.read_records(str(built[0])) for f in r.findings]
    right = [f for f in findings if f.organ == f.attributes["organ"] or f.attributes["organ"] in f.organ_path]
    assert len(right) >= 0.9 * len(findings) > 0
    assert all(f.side == f.attributes["side"] for f in right if f.side in ("left", "right"))


def test_questions_are_verified_and_patients_stay_in_one_split(built):
    records = list(shards.read_records(str(built[0])))
    assert all(question.checks for record in records for question in record.questions)
    splits: dict[str, set] = {}
    for record in records:
        splits.setdefault(record.patient_id, set()).add(record.split)
    assert all(len(found) == 1 for found in splits.values())


def test_the_same_build_again_does_nothing_and_another_is_refused(built, phantom):
    out, manifest = built
    before = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert pipeline.build(config(phantom, out))["content_hash"] == manifest["content_hash"]
    assert {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()} == before
    with pytest.raises(UsageError, match="another build") as caught:
        pipeline.build(config(phantom, out, seed=9))
    assert "seed" in str(caught.value)


def test_layout_and_batch_size_do_not_change_the_content(built, phantom, tmp_path):
    other = pipeline.build(config(phantom, tmp_path, batch_size=3, layout="apart", shard_rows=5))
    assert other["content_hash"] == built[1]["content_hash"]
    assert len(other["shards"]) == 5


def test_a_lost_shard_is_made_again_byte_for_byte(built, phantom, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(built[0], out)
    lost = (out / "shards" / "shard-00001.parquet").read_bytes()
    for name in ("shards/shard-00001.parquet", "receipts/shard-00001.json", "manifest.json"):
        (out / name).unlink()
    pipeline.build(config(phantom, out))
    assert (out / "shards" / "shard-00001.parquet").read_bytes() == lost


def test_a_killed_build_continues_to_the_same_content(ray_cluster, built, phantom, tmp_path):
    settings = config(phantom, tmp_path, shard_rows=4)
    script = (
        "import sys, time; from medclm.config import BuildConfig; from medclm.data import pipeline\n"
        "pipeline.build(BuildConfig.model_validate_json(sys.argv[1]), lambda done, total: time.sleep(1.0))\n"
    )
    command = [sys.executable, "-c", script, settings.model_dump_json()]
    environment = {**os.environ, "RAY_ADDRESS": ray_cluster.get_runtime_context().gcs_address}
    child = subprocess.Popen(command, start_new_session=True, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("receipts/*.json")):
        assert time.monotonic() < deadline, "the build made no shard"
        assert child.poll() is None, "the build ended before it was killed"
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(UsageError, match="not finished"):
        shards.read_manifest(str(tmp_path))
    assert pipeline.build(settings)["content_hash"] == built[1]["content_hash"]


@pytest.mark.parametrize(("layout", "stages"), [("together", ["Together"]), ("apart", ["Segment", "Annotate"])])
def test_a_killed_actor_is_started_again_and_nothing_is_lost_or_doubled(built, phantom, tmp_path, layout, stages):
    left = list(stages)

    def kill_next(done: int, total: int) -> None:
        """After each of the first shards, an actor of the next stage."""
        if left and (workers := _actors_of(left[0])):
            os.kill(workers[0], signal.SIGKILL)
            left.pop(0)

    manifest = pipeline.build(config(phantom, tmp_path, shard_rows=2, batch_size=2, layout=layout), kill_next)
    assert left == []
    assert (manifest["rows"], manifest["rejected"]) == (IMAGES, {})
    assert manifest["content_hash"] == built[1]["content_hash"]


def _actors_of(stage: str) -> list[int]:
    """Process ids of the Ray actors that run a stage of this test run's cluster."""
    raylets = [p for p in psutil.Process().children(recursive=True) if p.name() == "raylet"]
    workers = [worker for raylet in raylets for worker in raylet.children()]
    return [w.pid for w in workers if (line := w.cmdline()) and line[0].startswith("ray::") and stage in line[0]]


def test_bad_input_is_set_aside_and_everything_else_is_kept(ray_cluster, phantom, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(phantom, bad)
    document = json.loads((bad / "annotations.json").read_text())
    names = [entry["file_name"] for entry in document["images"]]
    truncated, missing = names[0], names[1]
    path = bad / "images" / truncated
    path.write_bytes(path.read_bytes()[:3000])
    (bad / "images" / missing).unlink()
    whole = [a for a in document["annotations"] if a["image_id"] not in [e["id"] for e in document["images"][:2]]]
    whole[0]["category_id"] = 999
    whole[1]["bbox"] = [90, 90, 50, 50]
    whole[1].pop("segmentation", None)
    (bad / "annotations.json").write_text(json.dumps(document))
    out = tmp_path / "kept"
    with pytest.raises(MedclmError, match="images were set aside"):
        pipeline.build(config(bad, out))
    manifest = pipeline.build(config(bad, out, max_failed_share=0.2))
    assert manifest["rows"] == IMAGES - 2
    lines = [line for file in sorted((out / "rejected").iterdir()) for line in file.read_text().splitlines()]
    reasons = sorted(Reject.model_validate_json(line).reason for line in lines)
    assert reasons == ["box-outside", "missing-image", "unknown-category", "unreadable-image"]


def test_split_of_is_a_share_of_patients():
    splits = [plan.split_of(f"p{i}", {"train": 0.7, "validate": 0.1, "test": 0.2}, 0) for i in range(2000)]
    assert abs(splits.count("train") / 2000 - 0.7) < 0.04
    assert abs(splits.count("test") / 2000 - 0.2) < 0.04
    assert plan.split_of("p1", {"train": 1.0}, 0) == "train"
