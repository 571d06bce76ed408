"""Boxes and masks against hand-worked values, brute force and pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from medclm.data import boxes

SIDE = st.integers(1, 12)
MASKS = hnp.arrays(bool, st.tuples(SIDE, SIDE))
COORDINATE = st.floats(0, 10, width=32)


@st.composite
def box(draw, strategy=COORDINATE):
    x1, x2 = sorted(draw(st.lists(strategy, min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(strategy, min_size=2, max_size=2, unique=True)))
    return (float(x1), float(y1), float(x2), float(y2))


def test_iou_by_hand():
    # 2x2 boxes shifted by one: intersection 1, union 7
    assert boxes.iou_xyxy((0, 0, 2, 2), (1, 1, 3, 3)).item() == pytest.approx(1 / 7)
    assert boxes.iou_xyxy([(0, 0, 2, 2), (5, 5, 6, 6)], [(0, 0, 2, 2)]).tolist() == [[1.0], [0.0]]
    assert boxes.iou_xyxy((1, 1, 1, 1), (1, 1, 1, 1)).item() == 0


@given(st.lists(box(), min_size=1, max_size=5), st.lists(box(), min_size=1, max_size=5))
def test_iou_equals_pycocotools(a, b):
    ours = boxes.iou_xyxy(np.array(a), np.array(b))
    xywh_a, xywh_b = (np.array([boxes.xywh_from_box(v) for v in side]) for side in (a, b))
    theirs = coco_mask.iou(xywh_a, xywh_b, [False] * len(b))
    assert np.allclose(ours, theirs, atol=1e-9)


@given(box())
def test_xywh_round_trip(value):
    assert boxes.box_from_xywh(boxes.xywh_from_box(value)) == pytest.approx(value, abs=1e-6)


def test_clip():
    assert boxes.clip_box((-1, 2, 9, 99), (5, 8)) == (0, 2, 8, 5)


def test_box_coverage_by_hand():
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True  # the square (2, 1) to (3, 2)
    assert boxes.box_coverage((2, 1, 3, 2), mask) == 1
    assert boxes.box_coverage((0, 0, 4, 4), mask) == 1 / 16
    assert boxes.box_coverage((2.5, 1, 3.5, 2), mask) == 0.5
    assert boxes.box_coverage((2.5, 1.75, 4.5, 2.75), mask) == 0.125 / 2
    assert boxes.box_coverage((1.25, 1.25, 1.5, 1.5), np.ones((4, 4), bool)) == 1
    assert boxes.box_coverage((3, 0, 5, 1), np.ones((4, 4), bool)) == 0.5  # half of it is outside the picture
    assert boxes.box_coverage((7, 0, 9, 1), mask) == 0


@settings(max_examples=100, deadline=None)
@given(MASKS, box(st.integers(-12, 96).map(lambda v: v / 8)))
def test_box_coverage_equals_eight_fold_supersampling(mask, value):
    fine = np.zeros((14 * 8, 14 * 8), bool)
    big = np.kron(mask, np.ones((8, 8), bool))
    fine[: big.shape[0], : big.shape[1]] = big
    x1, y1, x2, y2 = (round(v * 8) for v in value)
    inside = fine[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)].sum()
    assert boxes.box_coverage(value, mask) == pytest.approx(inside / ((x2 - x1) * (y2 - y1)))


def test_mask_coverage():
    lesion, organ = np.array([[True, True, False]]), np.array([[False, True, True]])
    assert boxes.mask_coverage(lesion, organ) == 0.5
    assert boxes.mask_coverage(np.zeros((1, 3), bool), organ) == 0


def test_bounds_by_hand():
    mask = np.zeros((5, 7), bool)
    assert boxes.bounds(mask) is None
    mask[1, 4] = mask[3, 2] = True
    assert boxes.bounds(mask) == (slice(1, 4), slice(2, 5))  # rows 1 to 3, columns 2 to 4
    mask[4, 6] = True
    assert boxes.bounds(mask) == (slice(1, 5), slice(2, 7))


@given(MASKS)
def test_box_from_mask_is_tight(mask):
    if not mask.any():
        with pytest.raises(ValueError, match="empty"):
            boxes.box_from_mask(mask)
        return
    x1, y1, x2, y2 = (int(v) for v in boxes.box_from_mask(mask))
    assert mask.sum() == mask[y1:y2, x1:x2].sum()
    for edge in (mask[y1, x1:x2], mask[y2 - 1, x1:x2], mask[y1:y2, x1], mask[y1:y2, x2 - 1]):
        assert edge.any()


@given(MASKS)
def test_rle_round_trip_and_pycocotools(mask):
    counts = boxes.encode_rle(mask)
    assert counts == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    decoded = boxes.decode_rle(counts, mask.shape)
    assert decoded.dtype == bool
    assert np.array_equal(decoded, mask)


@given(MASKS)
def test_uncompressed_runs(mask):
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    edges = [0, *changes.tolist()]
    if edges[-1] != mask.size:
        edges.append(mask.size)
    runs = np.diff(edges).tolist()
    assert np.array_equal(boxes.decode_rle(boxes.rle_from_counts(runs, mask.shape), mask.shape), mask)


@settings(max_examples=200)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=12))
def test_any_string_is_decoded_or_refused(counts):
    try:
        assert boxes.decode_rle(counts, (3, 4)).shape == (3, 4)
    except ValueError as error:
        assert "run-length" in str(error)  # noqa: PT017


def test_rle_of_another_size_is_refused():
    counts = boxes.encode_rle(np.ones((4, 4), bool))
    with pytest.raises(ValueError, match="3 x 4"):
        boxes.decode_rle(counts, (4, 3))
    with pytest.raises(ValueError, match="15 pixels in the runs, 16"):
        boxes.rle_from_counts([15], (4, 4))


def test_polygons():
    square, corner = [1, 1, 4, 1, 4, 3, 1, 3], [5, 5, 6, 5, 6, 6, 5, 6]
    expected = np.zeros((6, 7), bool)
    expected[1:3, 1:4] = True
    expected[5, 5] = True
    assert np.array_equal(boxes.polygons_to_mask([square, corner], (6, 7)), expected)
    for bad in ([1, 2, 3, 4], [1, 1, 4, 1, 4], [0, 0, 1, 0, float("nan"), 1]):
        with pytest.raises(ValueError, match="three or more"):
            boxes.polygons_to_mask([bad], (6, 7))


def test_polygon_outside_is_cut_at_the_border():
    assert boxes.polygons_to_mask([[-5, -5, 50, -5, 50, 50, -5, 50]], (3, 4)).all()
