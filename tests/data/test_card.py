"""The card as the hub's own library parses it."""

from __future__ import annotations

import datasets
import pytest
from huggingface_hub import DatasetCard

from medclm.data.card import card, write_card
from medclm.data.report import build_report
from medclm.data.shards import read_manifest
from tests.hand_dataset import make_record, write_dataset

CONFIG = {"dataset": "toy: a test", "segmenter": "masks:m", "linking": "coverage", "min_coverage": 0.4, "seed": 7}
MANIFEST = {
    "rows": 1200,
    "medclm_version": "0.1.0",
    "content_hash": "ab" * 32,
    "counts": {"findings": {"mass": 2, "nodule": 3}, "organs": {}},
    "rejected": {"question-failed": 4},
    "build": {"config": CONFIG, "reader_rejects": {"missing-image": 1}},
}


def test_the_hub_reads_the_front_matter():
    found = DatasetCard(card(MANIFEST)).data.to_dict()
    assert found["configs"] == [
        {"config_name": "default", "data_files": [{"split": "full", "path": "shards/*.parquet"}]}
    ]
    assert (found["pretty_name"], found["size_categories"]) == ("toy: a test", ["1K<n<10K"])
    assert (found["license"], found["license_name"]) == ("other", "see-the-source-of-the-images")
    assert "visual-question-answering" in found["task_categories"]


def test_the_text_says_how_it_was_made_and_what_it_is_not():
    body = DatasetCard(card(MANIFEST)).text
    assert "not a medical device" in body
    assert "covers at least 40% of the finding's mask" in body
    assert "segmenter `masks:m`" in body
    assert "| nodule | 3 |" in body
    assert "missing-image 1, question-failed 4" in body
    assert "## Measured" not in body
    assert "organs | count" not in body


@pytest.mark.parametrize(
    ("rows", "size"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (10**5, "100K<n<1M"), (10**6, "1M<n<10M"), (10**7, "n>10M")],
)
def test_size_category(rows, size):
    assert DatasetCard(card({**MANIFEST, "rows": rows})).data.size_categories == [size]


def test_the_report_writes_its_figures_into_the_card(tmp_path):
    records = [make_record(n, "train", n < 4) for n in range(6)] + [make_record(10, "test", True)]
    folder = write_dataset(tmp_path / "set", records)
    write_card(folder, read_manifest(folder))
    assert "## Measured" not in (tmp_path / "set" / "README.md").read_text()
    build_report(folder)
    body = DatasetCard.load(tmp_path / "set" / "README.md").text
    # of the one test image, with a nodule on the left: yes, 1, nodule, left are the majority answers
    assert "| right without looking: majority answer | 100.0% |" in body
    assert "| patients in two splits | 0 |" in body


def test_datasets_loads_the_directory_by_its_card(tmp_path):
    folder = write_dataset(tmp_path / "set", [make_record(1, "train", True), make_record(2, "test", False)])
    write_card(folder, read_manifest(folder))
    rows = datasets.load_dataset(folder, split="full", cache_dir=str(tmp_path / "cache"))
    assert rows["image_id"] == ["im01", "im02"]
    train = rows.filter(lambda split: split == "train", input_columns="split")
    assert train["image_id"] == ["im01"]
