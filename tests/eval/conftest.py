"""The hand-made dataset and predictor of ``tests/hand_dataset.py`` as fixtures, and a VQA-RAD folder."""

from __future__ import annotations

import json

import pytest
from PIL import Image as PilImage

from tests.hand_dataset import RulePredictor, make_record, write_dataset


@pytest.fixture
def rule_predictor():
    return RulePredictor()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> str:
    """Six training images (four with a nodule) and four test images (two with), one patient each."""
    train = [make_record(n, "train", n < 4) for n in range(6)]
    test = [make_record(n, "test", n < 12) for n in range(10, 14)]
    return write_dataset(tmp_path_factory.mktemp("dataset"), [*train, *test])


@pytest.fixture
def vqa_rad(tmp_path):
    """A function from rows to a folder laid out like VQA-RAD; pictures are written for all names but ``missing``."""

    def write(rows: list[dict], missing: tuple[str, ...] = ()) -> str:
        (tmp_path / "images").mkdir()
        (tmp_path / "trainset.json").write_text(json.dumps(rows))
        for name in {row["image_name"] for row in rows} - set(missing):
            PilImage.new("L", (32, 24), 90).save(tmp_path / "images" / name)
        return str(tmp_path)

    return write
