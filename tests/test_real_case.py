"""The real case: LIDC-IDRI-0001 through the command line and Ray Data, then asked about."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy.spatial.distance import pdist

from medclm.config import BuildConfig, ServeConfig, TrainConfig
from medclm.data import pipeline, shards
from medclm.data.rationale import ANNOTATED
from medclm.serve.app import run_app, stop_app
from medclm.train import launch

SLICES = range(36, 52)
"""Instances that are built here: the nodule is on 40 to 47."""


@pytest.fixture(scope="module")
def nearby(lidc, tmp_path_factory) -> Path:
    """The same dataset, its annotation file cut to :data:`SLICES`; images and masks are the whole one's."""
    document = json.loads((lidc / "annotations.json").read_text())
    wanted = {f"chest-ct-{n:03d}" for n in SLICES}
    document["images"] = [entry for entry in document["images"] if Path(entry["file_name"]).stem in wanted]
    ids = {entry["id"] for entry in document["images"]}
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in ids]
    path = tmp_path_factory.mktemp("nearby") / "annotations.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def built(ray_cluster, lidc, nearby, tmp_path_factory) -> str:
    out = str(tmp_path_factory.mktemp("built"))
    config = BuildConfig(
        images=str(lidc / "images"),
        annotations=str(nearby),
        segmenter=f"masks:{lidc / 'masks'}",
        out=out,
        max_questions=40,
    )
    manifest = pipeline.build(config)
    assert (manifest["rows"], manifest["rejected"]) == (len(SLICES), {})
    return out


@pytest.fixture(scope="module")
def records(built) -> list:
    return list(shards.read_records(built))


def test_every_lesion_lies_in_the_patients_left_lower_lobe(records):
    findings = [finding for record in records for finding in record.findings]
    assert len(findings) == 8
    assert [finding.organ for finding in findings].count("left_lower_lobe") >= 0.95 * len(findings)
    assert {finding.side for finding in findings} == {"left"}


def test_no_row_about_the_nodule_says_right(records):
    texts = [
        text
        for record in records
        for question in record.questions
        if question.finding_ids
        for text in (question.answer, *(step.text for step in question.reasoning))
    ]
    assert texts
    assert not [text for text in texts if re.search(r"\bright\b", text)]


def test_sizes_agree_with_the_contours(records, nearby):
    """Against the longest distance of the consensus mask's pixel centres, computed here by brute force."""
    document = json.loads(nearby.read_text())
    names = {entry["id"]: Path(entry["file_name"]).stem for entry in document["images"]}
    sizes = {}
    for entry in document["annotations"]:
        rows, cols = np.nonzero(coco_mask.decode(entry["segmentation"]))
        sizes[names[entry["image_id"]]] = 0.703125 * (pdist(np.stack([rows, cols], 1)).max() + 1)
        assert abs(sizes[names[entry["image_id"]]] - float(entry["attributes"]["diameter_mm"])) < 2.5
    for record in records:
        for finding in record.findings:
            assert finding.size_mm == pytest.approx(sizes[record.image_id], abs=0.01)


def test_ratings_are_attributes_and_are_asked_about(records):
    for record in records:
        for finding in record.findings:
            assert set(ANNOTATED) - {"density"} <= {key.replace("_", " ") for key in finding.attributes}
    asked = [q for record in records for q in record.questions if q.type == "attribute"]
    assert len(asked) >= 40
    assert any("malignancy" in question.question for question in asked)
    assert {"solid"} == {q.answer for q in asked if "texture" in q.question}


def test_no_header_text_leaves_the_files(records):
    text = " ".join(record.model_dump_json(exclude={"image": {"bytes"}}) for record in records)
    assert "Manufacturer" not in text
    assert "GE MEDICAL" not in text.upper()
    assert "LIDC-IDRI-0001" not in text.upper()
    assert os.path.sep + "images" + os.path.sep not in text
    assert all(re.fullmatch(r"f[0-9a-f]{20}\.dcm", record.source.uri) for record in records)


def test_a_model_trained_on_it_answers_through_the_server(built, lidc, tmp_path):
    """Thirty steps on answers teach little more than to answer: the whole way to a served answer is what is tried."""
    settings = {"steps": 30, "batch_size": 8, "optim": {"lr": 3e-3}, "schedule": {"name": "hard-only"}}
    config = TrainConfig.model_validate({**settings, "model": {"finetune": "frozen-vision"}, "evaluate_limit": 4})
    model = launch.train(built, str(tmp_path / "run"), config).model_dir
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = run_app(ServeConfig(model=model, name="lidc-test", port=port, max_replicas=1, max_new_tokens=24))
    try:
        slice_file = lidc / "images" / "chest-ct-044.dcm"
        reply = httpx.post(
            f"{address}/v1/predict",
            files={"file": (slice_file.name, slice_file.read_bytes())},
            data={"question": "What abnormality does this image show?", "mode": "answer"},
            timeout=120,
        )
    finally:
        stop_app("lidc-test")
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert found["answer"]
    assert 0 < found["confidence"] <= 1
    assert "not a medical device" in found["disclaimer"]
