from __future__ import annotations

import yaml

from medclm.data.card import card

MANIFEST = {
    "rows": 1200,
    "medclm_version": "0.1.0",
    "content_hash": "ab" * 32,
    "counts": {"findings": {"mass": 2, "nodule": 3}, "organs": {}},
    "rejected": {"question-failed": 4},
    "build": {"config": {"dataset": "toy", "segmenter": "masks:m"}, "reader_rejects": {"missing-image": 1}},
}


def test_the_front_matter_is_yaml_that_names_the_shards():
    _, front, body = card(MANIFEST).split("---\n", 2)
    found = yaml.safe_load(front)
    assert found["configs"] == [{"config_name": "default", "data_files": "shards/*.parquet"}]
    assert (found["pretty_name"], found["size_categories"]) == ("toy", ["1K<n<10K"])
    assert "| nodule | 3 |" in body
    assert "missing-image 1, question-failed 4" in body
