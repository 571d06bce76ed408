"""The grid of a volume: how many voxels it has along each axis and where they lie in the patient.

Positions are DICOM's patient coordinates, LPS+: millimetres to the patient's left, to the back, to the head (PS3.3
C.7.6.2.1.1). An index is (i, j, k): column, row, slice; it is the position of a voxel's centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medclm.data.display import Display, Orientation, display_of, plane_name
from medclm.data.records import Spacing

SAME_MM = 0.02
"""Voxels of two grids that lie no farther apart are the same: what is left of rounding in headers."""


@dataclass(frozen=True)
class Grid:
    """Voxels on a regular grid.

    Args:
        size_ijk: columns, rows and slices.
        affine: (4, 4) indices to LPS+ millimetres; None where the file does not say how it lies in the patient. Nothing
            is assumed then: no plane, no sides.
        spacing_ijk: distances of neighbours along i, j and k, in millimetres as far as the file says; 0 where it says
            nothing.
    """

    size_ijk: tuple[int, int, int]
    affine: np.ndarray | None
    spacing_ijk: tuple[float, float, float]

    def __len__(self) -> int:
        return self.size_ijk[2]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of a slice."""
        return self.size_ijk[1], self.size_ijk[0]

    @cached_property
    def orientation(self) -> Orientation | None:
        """Direction cosines of a row and of a column of every slice; None where they are not known."""
        if self.affine is None:
            return None
        axes = self.affine[:3, :2] / np.linalg.norm(self.affine[:3, :2], axis=0)
        return tuple(axes.T.ravel().tolist())

    @property
    def plane(self) -> str:
        """``axial``, ``coronal`` or ``sagittal``, whichever the slices are closest to; "" where it is not known."""
        return plane_name(self.orientation) if self.orientation else ""

    @property
    def display(self) -> Display | None:
        """How every slice is turned for radiological display; None where it is not known."""
        return display_of(self.orientation) if self.orientation else None

    @property
    def spacing_mm(self) -> Spacing | None:
        """Of a slice."""
        col, row, _ = self.spacing_ijk
        return Spacing(row=row, col=col) if row > 0 and col > 0 else None

    def to_patient(self, ijk: np.ndarray) -> np.ndarray:
        """Indices (N, 3), fractions allowed, to LPS+ millimetres (N, 3); the affine must be known."""
        assert self.affine is not None, "ask only where the volume says how it lies"
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxels(self, points_mm: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_patient`."""
        assert self.affine is not None, "ask only where the volume says how it lies"
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points_mm, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]


def grid_of(size_ijk: tuple[int, int, int], affine: np.ndarray | None, spacing_ijk: tuple | np.ndarray) -> Grid:
    """A checked grid; the spacing is the affine's where there is one.

    Raises:
        ValueError: the axes of the affine do not span a space.
    """
    if affine is not None:
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError("the axes of the volume do not span a space")
        spacing_ijk = np.linalg.norm(affine[:3, :3], axis=0)
    i, j, k = (abs(float(v)) if np.isfinite(v) else 0.0 for v in spacing_ijk)
    return Grid(size_ijk, affine, (i, j, k))


def reordered(voxels: np.ndarray, own: Grid, wanted: Grid) -> np.ndarray | None:
    """The voxels of one grid in the order of another that has the same voxels.

    Axes may be permuted and flipped (a file in RAS order beside one in LPS order); nothing is resampled.

    Args:
        voxels: (slices, rows, columns) of the grid ``own``.

    Returns:
        A view of (slices, rows, columns) of ``wanted``; None where the voxels of the two lie more than
        :data:`SAME_MM` apart, or one grid does not say how it lies.
    """
    if own.affine is None or wanted.affine is None:
        return None
    change = np.rint(np.linalg.inv(own.affine[:3, :3]) @ wanted.affine[:3, :3]).astype(int)
    if not (np.abs(change).sum(axis=0) == 1).all() or not (np.abs(change).sum(axis=1) == 1).all():
        return None
    axes = [int(np.argmax(np.abs(change[:, n]))) for n in range(3)]  # own axis along wanted i, j and k
    signs = [int(change[axis, n]) for n, axis in enumerate(axes)]
    if tuple(own.size_ijk[axis] for axis in axes) != wanted.size_ijk:
        return None
    ends = np.array(wanted.size_ijk) - 1
    corners = np.array(np.meshgrid(*[[0, end] for end in ends], indexing="ij")).reshape(3, -1).T
    matching = np.zeros_like(corners)
    for n, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matching[:, axis] = corners[:, n] if sign > 0 else ends[n] - corners[:, n]
    if np.abs(own.to_patient(matching) - wanted.to_patient(corners)).max() > SAME_MM:
        return None
    ijk = voxels.transpose(2, 1, 0).transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    return ijk.transpose(2, 1, 0)
