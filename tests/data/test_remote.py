"""Images, annotations, masks and the built dataset in object storage, which fails now and then."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclm.config import BuildConfig
from medclm.data import pipeline, shards
from medclm.samples.phantom import write_phantom
from medclm.storage import open_fs

IMAGES = 12


@pytest.fixture(scope="module")
def bucket(s3, tmp_path_factory) -> tuple[Path, str]:
    """(local copy, address in S3) of a phantom dataset."""
    local = tmp_path_factory.mktemp("phantom")
    write_phantom(local, IMAGES, seed=3, size=64)
    fs, _ = open_fs("s3://medclm")
    fs.mkdir("medclm")
    fs.put(str(local), "medclm/phantom", recursive=True)
    return local, "s3://medclm/phantom"


def build(root: str, out: str) -> dict:
    config = BuildConfig(
        images=f"{root}/images", annotations=f"{root}/annotations.json", segmenter=f"masks:{root}/masks", out=out,
        dataset="phantom", shard_rows=4, batch_size=4,
    )  # fmt: skip
    return pipeline.build(config)


def rows(out: str) -> list[dict]:
    """Everything but addresses: they become hashes, and differ."""
    return [record.model_dump(exclude={"source": {"uri"}, "prior": {"uri"}}) for record in shards.read_records(out)]


def test_a_build_from_s3_to_s3_equals_the_local_one(ray_cluster, bucket, tmp_path):
    local, remote = bucket
    assert build(remote, "s3://medclm/built")["rows"] == IMAGES
    build(str(local), str(tmp_path / "built"))
    assert rows("s3://medclm/built") == rows(str(tmp_path / "built"))


@pytest.mark.slow
def test_storage_that_fails_now_and_then_changes_nothing(ray_cluster, s3, bucket):
    calm = shards.read_manifest("s3://medclm/built")["content_hash"]
    s3.fail_every, failed_before = 7, s3.failed
    try:
        assert build(bucket[1], "s3://medclm/shaken")["content_hash"] == calm
    finally:
        s3.fail_every = 0
    assert s3.failed - failed_before >= 10
