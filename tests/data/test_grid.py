"""Grids: positions by hand, and every order and direction of axes against nibabel's reorientation."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data.display import Display
from medclm.data.grid import grid_of, reordered
from medclm.data.records import Spacing
from tests.data.volume_arrays import LPS, RAS, SIZE, VALUES

GRID = grid_of(SIZE, LPS, (0, 0, 0))
STORED = VALUES.transpose(2, 1, 0)
LPS_FROM_RAS = np.diag([-1.0, -1, 1, 1])


def test_a_grid_by_hand():
    assert (len(GRID), GRID.size_hw, GRID.plane, GRID.display) == (2, (3, 4), "axial", Display())
    assert GRID.spacing_ijk == (0.5, 2.0, 5.0)
    assert GRID.spacing_mm == Spacing(row=2, col=0.5)
    assert GRID.to_patient([[2, 1, 1]]).tolist() == [[11, 22, 35]]
    assert GRID.to_voxels([[11, 22, 35]]).tolist() == [[2, 1, 1]]


@pytest.mark.parametrize(
    ("directions", "plane", "display"),
    [
        ([[1, 0, 0], [0, 0, 1], [0, -1, 0]], "coronal", ""),  # rows run to the feet
        ([[-1, 0, 0], [0, 0, 1], [0, 1, 0]], "coronal", "flip-rows+flip-cols"),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], "sagittal", "flip-rows"),
        ([[1, 0, 0], [0, -1, 0], [0, 0, 1]], "axial", "flip-rows"),  # NIfTI in LAS order
    ],
)
def test_the_plane_and_display_of_slices(directions, plane, display):
    affine = np.eye(4)
    affine[:3, :3] = directions
    grid = grid_of(SIZE, affine, (0, 0, 0))
    assert (grid.plane, grid.display.text) == (plane, display)


def test_a_grid_that_does_not_say_how_it_lies():
    grid = grid_of(SIZE, None, (0.5, -2, np.nan))
    assert (grid.orientation, grid.display, grid.plane) == (None, None, "")
    assert grid.spacing_ijk == (0.5, 2, 0)
    assert grid.spacing_mm == Spacing(row=2, col=0.5)
    assert grid_of(SIZE, None, (0, 1, 1)).spacing_mm is None
    assert reordered(STORED, grid, GRID) is None
    assert reordered(STORED, GRID, grid) is None


@pytest.mark.parametrize("affine", [np.diag([1.0, 0, 1, 1]), np.full((4, 4), np.nan)])
def test_axes_that_span_no_space(affine):
    with pytest.raises(ValueError, match="span a space"):
        grid_of(SIZE, affine, (1, 1, 1))


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_order_and_direction_of_the_axes(axes, signs):
    other = nibabel.Nifti1Image(VALUES, RAS).as_reoriented(np.stack([axes, signs], axis=1))
    voxels = np.asarray(other.dataobj).transpose(2, 1, 0)
    own = grid_of(other.shape, LPS_FROM_RAS @ other.affine, (0, 0, 0))
    assert np.array_equal(reordered(voxels, own, GRID), STORED)
    assert np.array_equal(reordered(STORED, GRID, own), voxels)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["shift", "scale", "turn"]), st.sampled_from([0, 1, 2]), st.floats(0.03, 20))
def test_a_grid_elsewhere_is_another(what, axis, by):
    affine = LPS.copy()
    if what == "shift":
        affine[axis, 3] += by
    elif what == "scale":
        affine[:3, axis] *= 1 + by
    else:
        c, s = np.cos(by), np.sin(by)
        turn = np.eye(4)
        others = [n for n in range(3) if n != axis]
        turn[np.ix_(others, others)] = [[c, -s], [s, c]]
        affine = turn @ affine
    assert reordered(STORED, grid_of(SIZE, affine, (0, 0, 0)), GRID) is None


def test_rounding_of_headers_is_no_difference():
    affine = LPS.copy()
    affine[:3, 3] += 0.005
    assert np.array_equal(reordered(STORED, grid_of(SIZE, affine, (0, 0, 0)), GRID), STORED)
    assert reordered(STORED[:1], grid_of((4, 3, 1), LPS, (0, 0, 0)), GRID) is None
