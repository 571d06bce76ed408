"""Segmenters of volumes: each volume once, slices turned as their pictures are."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data.display import Display
from medclm.data.records import Source
from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.label_volume import LabelVolume
from medclm.data.segmenters.volumetric import VolumeSegmenter
from medclm.errors import MedclmError
from tests.data.readers import dicom_files as files


def liver_of(k: int) -> LabelVolume:
    """One voxel: column 1, row 2 of slice ``k``."""
    values = np.zeros((files.COLS, files.ROWS, 3), np.int32)
    values[1, 2, k] = 1
    affine = np.array([[-0.5, 0, 0, 10], [0, -2, 0, -20], [0, 0, 5, 100], [0, 0, 0, 1]])
    return LabelVolume(values, affine, {1: "liver"})


@pytest.fixture
def picture(tmp_path):
    def make(k: int, display: str = "", volume: str = "A") -> SegmenterInput:
        uri = files.save(files.ct_slice(k), tmp_path / f"{k}.dcm")
        turned = Display.parse(display)
        shown = turned.apply(np.zeros((files.ROWS, files.COLS), np.uint8))
        return SegmenterInput(
            f"{k}", shown, shown.astype(np.float32), Source(uri=uri, reader="x", volume=volume), turned
        )

    return make


def test_every_volume_is_segmented_once_and_two_are_kept(picture):
    seen = []

    def segment(image):
        seen.append(image.source.volume)
        return liver_of(1)

    segmenter = VolumeSegmenter("toy", segment)
    assert segmenter.name == "toy"
    found = segmenter([picture(k) for k in range(3)])
    assert [sorted(masks) for masks in found] == [[], ["liver"], []]
    segmenter([picture(0, volume="B"), picture(1), picture(0, volume="C"), picture(1), picture(0, volume="B")])
    assert seen == ["A", "B", "C", "B"], "A was used after B, so B had to go for C"


@pytest.mark.parametrize(
    ("display", "row_col", "shape"),
    [("", (2, 1), (8, 10)), ("flip-cols", (2, 8), (8, 10)), ("transpose+flip-rows", (8, 2), (10, 8))],
)
def test_masks_are_turned_as_the_picture_is(picture, display, row_col, shape):
    (masks,) = VolumeSegmenter("toy", lambda image: liver_of(1))([picture(1, display)])
    assert masks["liver"].shape == shape
    assert np.argwhere(masks["liver"]).tolist() == [list(row_col)]


def test_a_volume_that_failed_is_not_segmented_again(picture):
    seen = []

    def segment(image):
        seen.append(image.source.volume)
        raise MedclmError("no volume")

    segmenter = VolumeSegmenter("toy", segment)
    for _ in range(3):
        with pytest.raises(MedclmError, match="no volume"):
            segmenter([picture(0)])
    assert seen == ["A"]


def test_a_picture_that_stands_alone_is_an_error(picture):
    with pytest.raises(MedclmError, match="needs volumes"):
        VolumeSegmenter("toy", lambda image: liver_of(1))([picture(1, volume="")])
