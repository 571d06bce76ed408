"""Where a DICOM frame lies in the patient, and the way between its pixels and patient coordinates.

Pixel coordinates are (x, y) with the origin at the outer corner of the first pixel. Image Position (Patient) is the
*centre* of that pixel (PS3.3 C.7.6.2.1.1), hence the half pixel in both directions of the conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medclm.data.records import Spacing

MM = 1e-3
"""Millimetres below which two positions are the same."""


@dataclass(frozen=True)
class Plane:
    """Where a frame lies in the patient (PS3.3 C.7.6.2.1.1).

    Args:
        position_mm: Image Position (Patient): x, y, z of the *centre* of the first pixel.
        orientation: Image Orientation (Patient): direction cosines of the first row, then of the first column.
        spacing_mm: between rows and between columns.
    """

    position_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: Spacing

    @cached_property
    def axes(self) -> np.ndarray:
        """(3, 3): unit vectors along a row, down a column, and normal to both."""
        row, col = np.array(self.orientation).reshape(2, 3)
        return np.stack([row, col, np.cross(row, col)])

    def to_pixels(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Patient coordinates to pixels of the frame.

        Args:
            points_mm: (N, 3).

        Returns:
            (N, 2) x, y with the origin at the outer corner of the first pixel (hence the half pixel between it and
            Image Position), and (N,) signed distances from the plane in mm.
        """
        along = (np.asarray(points_mm, dtype=np.float64) - np.array(self.position_mm)) @ self.axes.T
        return along[:, :2] / np.array([self.spacing_mm.col, self.spacing_mm.row]) + 0.5, along[:, 2]

    def to_patient(self, points_xy: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_pixels` for points of the plane: (N, 2) pixels to (N, 3) mm."""
        along = (np.asarray(points_xy, dtype=np.float64) - 0.5) * np.array([self.spacing_mm.col, self.spacing_mm.row])
        return np.array(self.position_mm) + along @ self.axes[:2]

    def distance(self, points_mm: np.ndarray) -> float:
        """How far the farthest of the points (N, 3) lies from the plane, in mm."""
        return float(np.abs(self.to_pixels(points_mm)[1]).max())

    def is_same(self, other: Plane) -> bool:
        """Whether both have the same pixels in the same place: positions within a hundredth of a pixel."""
        corner = np.array([[0.5, 0.5], [512.5, 0.5], [0.5, 512.5]])
        step = min(self.spacing_mm.row, self.spacing_mm.col)
        return bool(np.abs(self.to_patient(corner) - other.to_patient(corner)).max() < step / 100 + MM)

    def resampled(self, mask: np.ndarray, onto: Plane, size_hw: tuple[int, int]) -> np.ndarray:
        """A mask on this plane's pixels as (H, W) bool on those of a plane that coincides with it (nearest pixel)."""
        y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
        points, _ = self.to_pixels(onto.to_patient(np.stack([x.ravel(), y.ravel()], axis=1)))
        cols, rows = np.floor(points + 1e-6).astype(int).T
        inside = (rows >= 0) & (cols >= 0) & (rows < mask.shape[0]) & (cols < mask.shape[1])
        found = np.zeros(size_hw[0] * size_hw[1], bool)
        found[inside] = mask[rows[inside], cols[inside]]
        return found.reshape(size_hw)


def plane_of(groups: Sequence[Any]) -> Plane | None:
    """The plane of a frame from its functional groups (PS3.3 C.7.6.16) or the top level of the file.

    Args:
        groups: where to look, the nearest first: the frame's own group, the shared one, the file; None for absent.
    """
    position = _attribute(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _attribute(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _attribute(groups, "PixelMeasuresSequence", "PixelSpacing")
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
        return None
    if not np.isfinite([*position, *orientation, *spacing]).all() or min(spacing) <= 0:
        return None
    row, col = np.array(orientation).reshape(2, 3)
    if abs(row @ row - 1) > 1e-2 or abs(col @ col - 1) > 1e-2 or abs(row @ col) > 1e-2:
        return None
    return Plane(tuple(position), tuple(orientation), Spacing(row=spacing[0], col=spacing[1]))  # type: ignore[arg-type]


def _attribute(groups: Sequence[Any], sequence: str, name: str) -> list[float]:
    for group in groups:
        if group is None:
            continue
        for item in [*(group.get(sequence) or [])[:1], group]:
            if item.get(name):
                return [float(v) for v in item.get(name)]
    return []
