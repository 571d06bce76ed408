"""Exporting: what is refused, and what lies where."""

from __future__ import annotations

import json

import pytest

from medclm.data import shards
from medclm.data.export import export
from medclm.data.export_entry import file_name
from medclm.data.records import Record
from medclm.errors import UsageError
from tests.data.export_rows import make


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [make("a", "train"), make("b/1.2", "validate"), make("c", "test")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, records) -> str:
    out = str(tmp_path_factory.mktemp("built"))
    shards.write_shard(out, 0, records, [])
    shards.write_manifest(out, {})
    return out


def test_unknown_format_and_full_folder_are_refused(dataset, tmp_path):
    with pytest.raises(UsageError, match="unknown export format"):
        export(dataset, tmp_path, "coco")
    (tmp_path / "there").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        export(dataset, tmp_path, "llava")


def test_the_shards_themselves_are_read_by_datasets(dataset, tmp_path):
    import datasets

    files = [str(path) for path in shards.shard_files(dataset)]
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path), split="train")
    assert rows.num_rows == 3
    assert rows[0]["findings"][0]["label"] == "nodule"


def test_ids_that_are_no_file_names(dataset, tmp_path):
    export(dataset, tmp_path, "llava")
    first = json.loads((tmp_path / "validation.json").read_text())[0]
    assert first["image"] == f"images/{file_name('b/1.2')}.png"
    assert (tmp_path / first["image"]).is_file()
    assert file_name("b/1.2").startswith("b_1_2-")
    assert file_name("b/1.2") != file_name("b_1.2")
    assert file_name("im-01") == "im-01"
