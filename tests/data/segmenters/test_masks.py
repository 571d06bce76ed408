"""Mask files as a segmenter, and the lookup of segmenters by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medclm.data.display import Display
from medclm.data.images import encode_png
from medclm.data.segmenters import make_segmenter, picture_input
from medclm.errors import MedclmError, UsageError

PICTURE = np.zeros((4, 6), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """``write(image_id, organ, pixels)`` under ``folder.root``."""

    def write(image_id: str, organ: str, pixels: np.ndarray) -> None:
        (tmp_path / image_id).mkdir(exist_ok=True)
        (tmp_path / image_id / f"{organ}.png").write_bytes(encode_png(pixels.astype(np.uint8)))

    write.root = tmp_path
    return write


def test_masks_are_read_by_vocabulary_name(folder):
    pixels = np.array([[0, 127, 128, 255, 0, 0]] * 4)
    folder("a", "left_lung", pixels)
    folder("a", "lung_lower_lobe_left", pixels)
    folder("a", "heart", np.zeros((4, 6)))
    segmenter = make_segmenter(f"masks:{folder.root}")
    assert segmenter.name == "masks"
    found, nothing = segmenter([picture_input(PICTURE, "a"), picture_input(PICTURE, "other")])
    assert sorted(found) == ["left_lower_lobe", "left_lung"]
    assert found["left_lung"].dtype == bool
    assert found["left_lung"].tolist() == [[False, False, True, True, False, False]] * 4
    assert nothing == {}


def test_two_files_of_one_organ_are_united(folder):
    left, right = np.zeros((4, 6)), np.zeros((4, 6))
    left[0, 0] = right[1, 1] = 255
    folder("a", "left_lung", left)
    folder("a", "lung_left", right)
    (found,) = make_segmenter(f"masks:{folder.root}")([picture_input(PICTURE, "a")])
    assert found["left_lung"].sum() == 2


def test_another_size_is_an_error(folder):
    folder("a", "heart", np.full((6, 4), 255))
    with pytest.raises(MedclmError, match="does not fit") as caught:
        make_segmenter(f"masks:{folder.root}")([picture_input(PICTURE, "a")])
    assert caught.value.details["got"] == "4 x 6"


def test_unknown_organs_are_all_named(folder):
    for organ in ("hart", "lunge", "heart"):
        folder("a", organ, np.full((4, 6), 255))
    with pytest.raises(MedclmError) as caught:
        make_segmenter(f"masks:{folder.root}")([picture_input(PICTURE, "a")])
    assert caught.value.details["got"] == "hart, lunge"


@pytest.mark.parametrize("spec", ["mask:x", "unet", "masks:", "", "cxas:", "monai-bundle"])
def test_unknown_segmenter_lists_the_known_ones(spec):
    with pytest.raises(UsageError, match=r"masks:DIR.*unet:phantom"):
        make_segmenter(spec)


def test_one_mask_an_image_of_a_named_organ(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(np.array([[0, 127, 128, 255, 0, 0]] * 4, np.uint8)))
    (tmp_path / "b.png").write_bytes(encode_png(np.zeros((4, 6), np.uint8)))
    segmenter = make_segmenter(f"masks:{tmp_path}#both lungs")
    found, empty, other = segmenter([picture_input(PICTURE, image_id) for image_id in "abc"])
    assert found["lungs"].tolist() == [[False, False, True, True, False, False]] * 4
    assert empty == other == {}
    with pytest.raises(UsageError, match="no such organ"):
        make_segmenter(f"masks:{tmp_path}#lunge")


def test_masks_of_stored_pixels_are_turned_as_their_picture(folder):
    pixels = np.zeros((4, 6))
    pixels[0, 1] = 255
    folder("a", "heart", pixels)
    display = Display(transpose=True, flip_rows=True)
    turned = dataclasses.replace(picture_input(np.zeros((6, 4), np.uint8), "a"), display=display)
    (found,) = make_segmenter(f"masks:{folder.root}")([turned])
    assert np.argwhere(found["heart"]).tolist() == [[4, 0]], "column 1 became row 1 of 6, counted from below"


def test_missing_mask_folder(tmp_path):
    with pytest.raises(UsageError, match="no such mask folder"):
        make_segmenter(f"masks:{tmp_path / 'none'}")
