"""What the U-Net learns from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medclm.data.images import encode_png
from medclm.data.segmenters.unet_data import (
    Example,
    annotation_file,
    common_organs,
    dataset_info,
    dataset_note,
    dataset_sources,
    load_examples,
    stacked,
)
from medclm.errors import UsageError
from tests.data.segmenters.toy_dataset import stripe_dataset


def example(*organs: str) -> Example:
    mask = np.zeros((4, 6), bool)
    mask[:, :3] = True
    return Example("a", "p", np.full((4, 6), 200, np.uint8), {organ: mask for organ in organs})


def test_pictures_and_their_masks(tmp_path):
    examples = load_examples(stripe_dataset(tmp_path / "data", 4, 0))
    assert [(e.image_id, sorted(e.masks)) for e in examples] == [
        ("0", ["right_lung"]), ("1", ["left_lung"]), ("2", ["right_lung"]), ("3", ["left_lung"]),
    ]  # fmt: skip
    assert examples[0].picture.shape == (64, 64)
    assert examples[0].masks["right_lung"].sum() == 256


def test_one_mask_an_image_gives_both_sides(tmp_path):
    root = tmp_path / "data"
    stripe_dataset(root, 1, 0)
    both = np.zeros((64, 64), np.uint8)
    both[10:50, 5:25] = both[10:50, 40:55] = 255
    (root / "masks" / "0.png").write_bytes(encode_png(both))
    (only,) = load_examples(str(root), "lungs")
    assert {organ: int(mask.sum()) for organ, mask in only.masks.items()} == {
        "lungs": 1400, "right_lung": 800, "left_lung": 600,
    }  # fmt: skip


def test_nothing_to_learn_from(tmp_path):
    data = stripe_dataset(tmp_path / "data", 2, 0)
    for path in (tmp_path / "data" / "masks").glob("*/*.png"):
        path.unlink()
    with pytest.raises(UsageError, match="nothing to learn"):
        load_examples(data)


def test_the_annotation_file_is_the_named_one_or_the_only_one(tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps({"info": {"description": "toy"}}))
    assert annotation_file(str(tmp_path)).endswith("boxes.json")
    assert dataset_info(str(tmp_path)) == {"description": "toy"}
    assert dataset_sources(str(tmp_path)) == []
    assert dataset_note(str(tmp_path)) == ""
    (tmp_path / "NOTE.txt").write_text("masks by them,\nCC BY\n")
    assert dataset_note(str(tmp_path)) == "masks by them, CC BY"
    (tmp_path / "licences.csv").write_text("file,licence,url,doi\na,CC0,u,d\nb,CC BY 4.0,v,e\nc,CC0,u,d\n")
    assert dataset_sources(str(tmp_path)) == [
        {"licence": "CC0", "url": "u", "doi": "d", "pictures": 2},
        {"licence": "CC BY 4.0", "url": "v", "doi": "e", "pictures": 1},
    ]
    (tmp_path / "more.json").write_text("{}")
    with pytest.raises(UsageError, match="not clear"):
        annotation_file(str(tmp_path))
    (tmp_path / "annotations.json").write_text("{}")
    assert annotation_file(str(tmp_path)).endswith("annotations.json")


def test_organs_that_enough_pictures_show():
    examples = [example("heart", "liver"), example("heart"), example("heart", "liver"), example("spleen")]
    assert common_organs(examples) == ("heart", "liver")
    assert common_organs(examples, ["liver"]) == ("liver",)
    with pytest.raises(UsageError, match="too few"):
        common_organs(examples, ["spleen"])


def test_stacks_at_the_networks_size():
    pictures, masks = stacked([example("heart"), example()], ("heart",), (8, 12))
    assert pictures.shape == (2, 8, 12)
    assert pictures.dtype == masks.dtype == np.uint8
    assert masks[0, 0, 0].tolist() == [1] * 6 + [0] * 6
    assert not masks[1].any()
