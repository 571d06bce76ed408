"""Outlines as boxes and masks."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import boxes
from medclm.data.readers.base import Refused
from medclm.data.readers.polygons import outline


def test_a_triangle_of_half_a_square():
    box, rle = outline([(0, 0), (8, 8), (0, 8)], (8, 8))
    assert box == (0, 0, 8, 8)
    mask = boxes.decode_rle(rle, (8, 8))
    assert mask[7, 0]
    assert not mask[0, 7]
    assert 28 <= mask.sum() <= 36  # half of 64, give or take the diagonal


def test_fractions_stay_in_the_box():
    box, rle = outline([[1.25, 2], [5.5, 2], [5.5, 4.75], [1.25, 4.75]], (10, 10))
    assert box == (1.25, 2, 5.5, 4.75)
    assert boxes.box_from_mask(boxes.decode_rle(rle, (10, 10)))[1] == 2


def test_a_part_outside_is_in_the_box_only():
    box, rle = outline([(-2, 2), (4, 2), (4, 6), (-2, 6)], (8, 8))
    assert box == (-2, 2, 4, 6)
    expected = np.zeros((8, 8), bool)
    expected[2:6, :4] = True
    assert np.array_equal(boxes.decode_rle(rle, (8, 8)), expected)


def test_a_polygon_without_a_pixel_has_no_mask():
    assert outline([(9, 9), (12, 9), (12, 12)], (8, 8)) == ((9, 9, 12, 12), None)


@pytest.mark.parametrize(
    "points", [[], [(1, 2), (3, 4)], [1, 2, 3, 4, 5, 6], [(1, 2), (3, 4), (5, float("nan"))], "abc", [[1, 2], [3]]]
)
def test_no_polygon(points):
    with pytest.raises(Refused) as caught:
        outline(points, (8, 8))
    assert caught.value.reason == "bad-segmentation"
