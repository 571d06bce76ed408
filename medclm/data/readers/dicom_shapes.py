"""Drawn shapes as masks and boxes: polygons by the even-odd rule, ellipses by their equation.

Points are (x, y) in pixels with the origin at the outer corner of the first pixel, so the centre of the pixel in row r
and column c is (c + 0.5, r + 0.5). That is the convention of DICOM graphics in image coordinates: SCOORD (PS3.3
C.18.6.1.2) and presentation states in PIXEL units (PS3.3 C.10.5) both put 0.0\\0.0 at that corner and 1.0\\1.0 at the
opposite corner of the same pixel. A pixel belongs to a shape when its centre lies inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medclm.data.readers.base import Refused
from medclm.data.records import BoxXyxy

CLOSED_BY_DEFINITION = ("POLYGON", "CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True, eq=False)
class Shape:
    """A region of a picture.

    Args:
        box_xyxy: the extent of the shape itself, with fractions of a pixel; it may leave the picture.
        mask: (H, W) bool; all False where the shape is smaller than the pixels around it.
    """

    box_xyxy: BoxXyxy
    mask: np.ndarray


def from_polygons(contours: Sequence[np.ndarray], size_hw: tuple[int, int]) -> Shape:
    """Closed contours, each (N, 2), filled together by the even-odd rule: a contour inside another one is a hole.

    A centre that lies exactly on an edge counts as inside on the left and upper edges and as outside on the right and
    lower ones, so regions that share an edge never share a pixel.

    Raises:
        Refused: (no-geometry) fewer than three points, or no extent; (bad-annotation) a coordinate is not finite.
    """
    closed = [_checked(contour) for contour in contours]
    if not closed or any(len(contour) < 3 for contour in closed):
        raise Refused("no-geometry", "a contour needs three points")
    box = _extent(np.concatenate(closed))
    height, width = size_hw
    crossings = np.zeros((height, width + 1), np.int64)  # edges that cross a row's centre line left of a pixel's centre
    for contour in closed:
        for (x1, y1), (x2, y2) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
            first, last = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in sorted((y1, y2)))
            rows = np.arange(first, last)
            if len(rows):
                x = x1 + (rows + 0.5 - y1) * (x2 - x1) / (y2 - y1)
                columns = np.clip(np.ceil(np.round(x - 0.5, 9)), 0, width).astype(int)
                crossings[rows, columns] += 1
    return Shape(box, (np.cumsum(crossings, axis=1)[:, :width] % 2).astype(bool))


def from_ellipse(center: np.ndarray, half_axes: np.ndarray, size_hw: tuple[int, int]) -> Shape:
    """A filled ellipse.

    Args:
        center: (2,) x, y.
        half_axes: (2, 2): two perpendicular vectors from the centre to the rim.

    Raises:
        Refused: (no-geometry) an axis has no length; (bad-annotation) a coordinate is not finite.
    """
    center, half_axes = _checked(center[None])[0], _checked(half_axes)
    lengths_squared = (half_axes**2).sum(axis=1)
    if not (lengths_squared > 0).all():
        raise Refused("no-geometry", "an ellipse needs two axes with a length")
    reach = np.sqrt((half_axes**2).sum(axis=0))
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    along = np.stack([x - center[0], y - center[1]], axis=-1) @ half_axes.T / lengths_squared
    return Shape(_extent(np.stack([center - reach, center + reach])), (along**2).sum(axis=-1) <= 1 + 1e-9)


def from_graphic(kind: str, points: np.ndarray, size_hw: tuple[int, int], close: bool = False) -> Shape:
    """A DICOM graphic.

    Args:
        kind: Graphic Type of a SCOORD (PS3.3 C.18.6.1), SCOORD3D (C.18.9.1), presentation state (C.10.5) or RT
            contour (C.8.8.6.1).
        points: (N, 2). CIRCLE: centre, point on the rim. ELLIPSE: both ends of the major axis, both of the minor axis.
        close: whether the ends of an open line are joined, for graphics that stand for an area by definition.

    Raises:
        Refused: (no-geometry) the graphic encloses nothing (points, open lines); (bad-annotation) it has a wrong
            number of points.
    """
    points = _checked(points)
    if kind == "CIRCLE":
        _check_count(kind, points, 2)
        radius = float(np.hypot(*(points[1] - points[0])))
        return from_ellipse(points[0], np.eye(2) * radius, size_hw)
    if kind == "ELLIPSE":
        _check_count(kind, points, 4)
        return from_ellipse(points[:2].mean(axis=0), _half_axes(points), size_hw)
    if kind in CLOSED_BY_DEFINITION:
        return from_polygons([points], size_hw)
    if kind in ("POLYLINE", "INTERPOLATED"):
        is_closed = len(points) > 1 and np.allclose(points[0], points[-1], atol=1e-3)
        if not is_closed and not close:
            raise Refused("no-geometry", "an open line encloses nothing")
        return from_polygons([points[:-1] if is_closed else points], size_hw)
    raise Refused("no-geometry", f"a graphic of type {kind} encloses nothing")


def _half_axes(points: np.ndarray) -> np.ndarray:
    """(2, 2) half axes from the four ends; the minor one is made perpendicular (files round their coordinates)."""
    major, minor = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
    length = float(np.hypot(*major))
    if length == 0:
        raise Refused("no-geometry", "an ellipse needs two axes with a length")
    across = np.array([-major[1], major[0]]) / length
    return np.stack([major, across * float(np.hypot(*minor))])


def _check_count(kind: str, points: np.ndarray, count: int) -> None:
    if len(points) != count:
        raise Refused("bad-annotation", f"a graphic of type {kind} needs {count} points, got {len(points)}")


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise Refused("bad-annotation", "graphic data must be pairs of finite numbers")
    return points


def _extent(points: np.ndarray) -> BoxXyxy:
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    if x1 >= x2 or y1 >= y2:
        raise Refused("no-geometry", "the graphic has no area")
    return x1, y1, x2, y2
