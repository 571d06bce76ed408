"""Displays: values by hand for every plane, and that pixels, boxes and masks are turned alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medclm.data import boxes
from medclm.data.display import Display, display_of, orientation_of_letters, plane_name, turned, turned_organ
from medclm.data.records import Finding, Organ, Spacing

AXES = {letter: np.array(axis, float) for letter, axis in zip("LPH", np.eye(3), strict=True)}
AXES |= {"R": -AXES["L"], "A": -AXES["P"], "F": -AXES["H"]}
displays = st.builds(Display, st.booleans(), st.booleans(), st.booleans())
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


@pytest.mark.parametrize(
    ("columns", "rows", "plane", "text"),
    [
        ("L", "P", "axial", ""),
        ("R", "P", "axial", "flip-cols"),
        ("L", "A", "axial", "flip-rows"),
        ("R", "A", "axial", "flip-rows+flip-cols"),
        ("P", "L", "axial", "transpose"),
        ("A", "L", "axial", "transpose+flip-rows"),  # rows become columns, so the columns' direction turns up-down
        ("P", "R", "axial", "transpose+flip-cols"),
        ("L", "F", "coronal", ""),
        ("L", "H", "coronal", "flip-rows"),
        ("F", "L", "coronal", "transpose"),
        ("H", "R", "coronal", "transpose+flip-rows+flip-cols"),
        ("P", "F", "sagittal", ""),
        ("A", "F", "sagittal", "flip-cols"),
        ("P", "H", "sagittal", "flip-rows"),
        ("H", "P", "sagittal", "transpose+flip-rows"),
    ],
)
def test_directions_by_hand(columns, rows, plane, text):
    assert plane_name((*AXES[columns], *AXES[rows])) == plane
    assert display_of((*AXES[columns], *AXES[rows])).text == text
    assert orientation_of_letters([columns, rows]) == (*AXES[columns], *AXES[rows])


def rotation(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (i for i in range(3) if i != axis)
    matrix = np.eye(3)
    matrix[[a, b, a, b], [a, b, b, a]] = c, c, -s, s
    return matrix


@settings(max_examples=200, deadline=None)
@given(st.permutations("LPH"), st.lists(st.booleans(), min_size=2, max_size=2), st.floats(-44.9, 44.9),
       st.integers(0, 2))  # fmt: skip
def test_a_tilt_of_less_than_45_degrees_changes_nothing(letters, negative, degrees, axis):
    row, col = (AXES[letter] * (-1 if minus else 1) for letter, minus in zip(letters, negative, strict=False))
    tilt = rotation(degrees, axis)
    assert display_of((*tilt @ row, *tilt @ col)) == display_of((*row, *col))
    assert plane_name((*tilt @ row, *tilt @ col)) == plane_name((*row, *col))


@settings(max_examples=200, deadline=None)
@given(st.permutations("LPH"), st.lists(st.booleans(), min_size=2, max_size=2))
def test_the_displayed_picture_runs_as_it_should(letters, negative):
    """Pixels that hold their own position along an axis grow, or fall, along it in the display."""
    row, col = (AXES[letter] * (-1 if minus else 1) for letter, minus in zip(letters, negative, strict=False))
    position = np.arange(4)[None, :, None] * row + np.arange(3)[:, None, None] * col  # (3, 4, 3): LPS of each pixel
    shown = display_of((*row, *col)).apply(position)
    right, down = shown[0, 1] - shown[0, 0], shown[1, 0] - shown[0, 0]
    expected = {"axial": "LP", "coronal": "LF", "sagittal": "PF"}[plane_name((*row, *col))]
    assert right.tolist() == AXES[expected[0]].tolist()
    assert down.tolist() == AXES[expected[1]].tolist()


def test_two_directions_that_are_one_have_no_plane():
    assert plane_name((0, 0, 1, 0, 0, 1)) == ""
    with pytest.raises(ValueError, match="no plane"):
        display_of((0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("letters", "text"),
    [(["LF", "FR"], ""), (["R", "F"], "flip-cols"), (["R"], "flip-cols"), (["R", ""], "flip-cols"), (["l", "f"], "")],
)
def test_letters(letters, text):
    assert display_of(orientation_of_letters(letters)).text == text


@pytest.mark.parametrize("letters", [[], [""], ["L", "R"], ["L", "L"], ["P"], ["X", "F"], ["L", "F", "P"], ["", "F"]])
def test_letters_that_do_not_say(letters):
    assert orientation_of_letters(letters) is None


def test_apply_by_hand():
    stored = np.array([[1, 2, 3], [4, 5, 6]])
    assert Display(transpose=True).apply(stored).tolist() == [[1, 4], [2, 5], [3, 6]]
    assert Display(transpose=True, flip_rows=True).apply(stored).tolist() == [[3, 6], [2, 5], [1, 4]]
    assert Display(flip_cols=True).apply(stored).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert Display(transpose=True, flip_rows=True).box((0.0, 0.0, 1.0, 2.0), (2, 3)) == (0, 2, 2, 3)


@given(displays, hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5)))
def test_undo_is_the_inverse_of_apply(display, pixels):
    assert np.array_equal(display.undo(display.apply(pixels)), pixels)
    assert Display.parse(display.text) == display


def test_parse_refuses_other_words():
    with pytest.raises(ValueError, match="no display"):
        Display.parse("flip-rows+rotate")


@given(displays, masks)
def test_box_and_mask_turn_alike(display, mask):
    assume(mask.any())
    box, shown = boxes.box_from_mask(mask), display.apply(mask)
    assert display.box(box, mask.shape) == boxes.box_from_mask(shown)
    finding = Finding(id="1", label="nodule", label_raw="n", box_xyxy=box, mask_rle=boxes.encode_rle(mask))
    organ = Organ(name="liver", box_xyxy=box, area_px=int(mask.sum()), rle=boxes.encode_rle(mask), source="masks")
    new, new_organ = turned(finding, display, mask.shape), turned_organ(organ, display, mask.shape)
    assert new.box_xyxy == new_organ.box_xyxy == boxes.box_from_mask(shown)
    assert np.array_equal(boxes.decode_rle(new.mask_rle, shown.shape), shown)
    assert np.array_equal(boxes.decode_rle(new_organ.rle, shown.shape), shown)
    assert new_organ.area_px == shown.sum()


def test_a_finding_without_mask_keeps_none_and_a_mask_of_another_size_is_refused():
    finding = Finding(id="1", label="nodule", label_raw="n", box_xyxy=(0, 0, 1, 2))
    assert turned(finding, Display(flip_cols=True), (2, 3)).box_xyxy == (2, 0, 3, 2)
    assert turned(finding, Display(flip_cols=True), (2, 3)).mask_rle is None
    masked = finding.model_copy(update={"mask_rle": boxes.encode_rle(np.ones((9, 9), bool))})
    with pytest.raises(ValueError, match="3 x 2"):
        turned(masked, Display(flip_cols=True), (2, 3))


def test_spacing_swaps_with_a_transpose_only():
    spacing = Spacing(row=0.7, col=0.9)
    assert Display(transpose=True).spacing(spacing) == Spacing(row=0.9, col=0.7)
    assert Display(flip_rows=True, flip_cols=True).spacing(spacing) == spacing
    assert Display(transpose=True).spacing(None) is None
