from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medclm.data import shards
from medclm.data.record_table import ARROW_SCHEMA
from medclm.data.rejects import Reject
from medclm.errors import UsageError
from tests.data.helpers import linked_nodule, record

A, B, C = record([linked_nodule()], image_id="a"), record(image_id="b", split="test"), record(image_id="c")
LOST = Reject(image_id="d", where="d.dcm", reason="unreadable-image", detail="no pixels")


@pytest.fixture
def dataset(tmp_path) -> str:
    shards.write_shard(str(tmp_path), 0, [A, B], [LOST])
    shards.write_shard(str(tmp_path), 1, [C], [])
    shards.write_manifest(str(tmp_path), {"fingerprint": "f"})
    return str(tmp_path)


def test_records_come_back_in_order(dataset):
    assert list(shards.read_records(dataset)) == [A, B, C]
    assert list(shards.read_records(dataset, split="test")) == [B]
    assert list(shards.read_records(dataset, limit=1)) == [A]
    assert list(shards.read_records(dataset, split="train", limit=2)) == [A, C]


def test_the_manifest_counts_and_hashes(dataset):
    manifest = shards.read_manifest(dataset)
    assert manifest["rows"] == 3
    assert manifest["counts"]["findings"] == {"nodule": 1}
    assert manifest["counts"]["splits"] == {"test": 1, "train": 2}
    assert (manifest["rejected"], manifest["rejected_images"]) == ({"unreadable-image": 1}, 1)
    for shard in manifest["shards"]:
        data = (Path(dataset) / shard["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == shard["sha256"]


def test_the_content_hash_ignores_order_and_sharding(dataset, tmp_path_factory):
    other = str(tmp_path_factory.mktemp("other"))
    shards.write_shard(other, 0, [C, B, A], [])
    manifest = shards.write_manifest(other, {})
    assert manifest["content_hash"] == shards.read_manifest(dataset)["content_hash"]
    shards.write_shard(other, 0, [C, B, record([linked_nodule(side="right")], image_id="a")], [])
    assert shards.write_manifest(other, {})["content_hash"] != manifest["content_hash"]


def test_writing_a_shard_twice_changes_no_byte(dataset):
    before = {path: path.read_bytes() for path in Path(dataset).rglob("*") if path.is_file()}
    shards.write_shard(dataset, 0, [A, B], [LOST])
    assert {path: path.read_bytes() for path in Path(dataset).rglob("*") if path.is_file()} == before


def test_shards_carry_the_schema_and_rejects_their_reason(dataset):
    schema = pq.read_schema(Path(dataset) / "shards" / "shard-00000.parquet")
    assert schema.equals(ARROW_SCHEMA)
    line = json.loads((Path(dataset) / "rejected" / "shard-00000.jsonl").read_text())
    assert (line["reason"], line["image_id"]) == ("unreadable-image", "d")


def test_an_unfinished_or_foreign_directory_is_named(tmp_path):
    with pytest.raises(UsageError, match="not a built dataset"):
        shards.read_manifest(str(tmp_path))
    (tmp_path / "build.json").write_text("{}")
    with pytest.raises(UsageError, match="not finished"):
        shards.read_manifest(str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"schema_version": 99}')
    with pytest.raises(UsageError, match="another schema version"):
        shards.read_manifest(str(tmp_path))


def test_shards_live_on_any_fsspec_address():
    out = "memory://medclm-shards"
    shards.write_shard(out, 0, [A], [])
    shards.write_manifest(out, {})
    assert list(shards.read_records(out)) == [A]
