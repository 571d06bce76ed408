"""Fields: the small kit a phantom is drawn with (a millimetre grid, soft edges, smooth noise, blobs).

A field is a float32 array (H, W) over the picture. Distances are in millimetres; x grows to the picture's right, y
down, and (0, 0) is the picture's centre. A *distance field* is positive inside its shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Field = np.ndarray


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a square picture in millimetres. ``x`` and ``y`` are (H, W) float32."""

    x: Field
    y: Field
    spacing_mm: float

    @property
    def size(self) -> int:
        """Pixels along one edge."""
        return self.x.shape[0]


def make_grid(size: int, fov_mm: float, tilt_deg: float = 0.0, shift_mm: tuple[float, float] = (0.0, 0.0)) -> Grid:
    """The grid of a picture ``fov_mm`` wide; the patient stands tilted and shifted (x, y) in it."""
    line = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(fov_mm / size) - np.float32(fov_mm / 2)
    x, y = line[None, :] - np.float32(shift_mm[0]), line[:, None] - np.float32(shift_mm[1])
    cos, sin = np.float32(np.cos(np.radians(tilt_deg))), np.float32(np.sin(np.radians(tilt_deg)))
    return Grid(cos * x + sin * y, cos * y - sin * x, fov_mm / size)


def soft(distance: Field, width_mm: float) -> Field:
    """Opacity 0 to 1 of a shape given its distance field: 0.5 on the edge, a ramp ``2 * width_mm`` wide."""
    t = distance * np.float32(0.5 / width_mm)
    t += np.float32(0.5)
    np.maximum(t, 0, out=t)
    np.minimum(t, 1, out=t)
    ramp = 3 - 2 * t
    t *= t
    t *= ramp
    return t


def smooth_min(*distances: Field, radius_mm: float) -> Field:
    """The intersection of shapes with its corners rounded by about ``radius_mm`` (polynomial smooth minimum)."""
    result = distances[0]
    k = np.float32(radius_mm)
    for other in distances[1:]:
        blend = np.abs(result - other)
        np.subtract(k, blend, out=blend)
        np.maximum(blend, 0, out=blend)
        blend *= blend
        blend *= np.float32(0.25) / k
        result = np.minimum(result, other) - blend
    return result


def smooth_max(*distances: Field, radius_mm: float) -> Field:
    """The union of shapes with its creases filled by about ``radius_mm``."""
    return -smooth_min(*(-d for d in distances), radius_mm=radius_mm)


def ellipse(grid: Grid, center: tuple[float, float], radii: tuple[float, float], angle_deg: float = 0.0) -> Field:
    """Distance field of an ellipse (exact at the centre and on the edge). The angle turns x towards y."""
    dx, dy = grid.x - np.float32(center[0]), grid.y - np.float32(center[1])
    cos, sin = np.float32(np.cos(np.radians(angle_deg))), np.float32(np.sin(np.radians(angle_deg)))
    u, v = (cos * dx + sin * dy) / np.float32(radii[0]), (cos * dy - sin * dx) / np.float32(radii[1])
    return (1 - np.sqrt(u * u + v * v)) * np.float32(min(radii))


def crop_of(region: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold ``region`` (H, W) bool; empty slices where it is empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


@lru_cache(maxsize=32)
def _spline_matrix(size: int, cells: int) -> np.ndarray:
    """Uniform cubic B-spline weights (size, cells + 3) that spread control points over ``size`` samples."""
    t = (np.arange(size) + 0.5) / size * cells
    cell = np.minimum(t.astype(int), cells - 1)
    f = t - cell
    weights = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3], axis=1) / 6
    matrix = np.zeros((size, cells + 3), dtype=np.float32)
    for offset in range(4):
        matrix[np.arange(size), cell + offset] += weights[:, offset]
    return matrix


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth random field (size, size), mean about 0, standard deviation about 1, ``cells`` bumps along an edge."""
    cells = max(1, min(cells, size))
    control = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32) / np.float32(0.48)
    basis = _spline_matrix(size, cells)
    return basis @ control @ basis.T


def wobble(rng: np.random.Generator, angle: Field, amplitude: float, waves: int = 5) -> Field:
    """Relative radius change of an irregular outline: ``waves`` random harmonics from the second up."""
    total = np.zeros_like(angle)
    for n in range(2, 2 + waves):
        total += np.float32(rng.normal() / n**0.5) * np.cos(n * angle + np.float32(rng.uniform(0, 2 * np.pi)))
    return total * np.float32(amplitude)
