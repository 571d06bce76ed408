"""Findings of the phantoms: how each one looks, and where in an organ it sits.

A painter gets a :class:`Site` and returns a :class:`Lesion`: an opacity field, the change it makes, its mask and its
attributes. Radiographs add ``opacity * lift`` to the grey; CT slices blend towards ``density`` in Hounsfield units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medclm.samples.fields import Field, Grid, smooth_noise, soft, wobble


@dataclass(frozen=True)
class Site:
    """Where a lesion goes: its centre in the grid's millimetres, and the distance field of the space that holds it."""

    grid: Grid
    center: tuple[float, float]
    inside: Field
    rng: np.random.Generator


@dataclass(frozen=True)
class Lesion:
    """A drawn lesion. ``opacity`` is 0 to 1; ``lift`` is grey added on a radiograph; ``density`` is in HU on CT."""

    opacity: Field
    mask: np.ndarray
    lift: float | Field
    density: float | Field
    attributes: dict[str, str | float]


def _polar(site: Site) -> tuple[Field, Field]:
    dx, dy = site.grid.x - np.float32(site.center[0]), site.grid.y - np.float32(site.center[1])
    return np.sqrt(dx * dx + dy * dy), np.arctan2(dy, dx)


def nodule(site: Site) -> Lesion:
    """A small soft disc, 14 to 28 mm."""
    r, angle = _polar(site)
    radius = site.rng.uniform(7, 14)
    edge = radius * (1 + wobble(site.rng, angle, 0.02, 3)) - r
    opacity = soft(edge, 2.2) * np.clip(0.75 + 0.25 * edge / radius, 0, 1)
    attributes: dict[str, str | float] = {"shape": "round", "margin": "smooth", "density": "solid"}
    return Lesion(opacity, edge > 0, 0.33, 40.0, attributes)


def mass(site: Site) -> Lesion:
    """A large solid lesion, 36 to 64 mm, lobulated or spiculated."""
    r, angle = _polar(site)
    radius = site.rng.uniform(18, 32)
    spiculated = site.rng.random() < 0.5
    edge = radius * (1 + wobble(site.rng, angle, 0.07, 5)) - r
    opacity = soft(edge, 2.5)
    if spiculated:
        rays = np.cos(angle * site.rng.integers(9, 14) + np.float32(site.rng.uniform(0, 6)) + r / 25)
        spikes = np.clip(rays * 2.4 - 1.2, 0, 1) * np.exp(np.minimum(edge, 0) / 7)
        opacity = np.maximum(opacity, spikes * np.float32(0.7) * (edge > -16))
    opacity = opacity * (np.float32(0.93) + smooth_noise(site.rng, site.grid.size, 24) * np.float32(0.05))
    margin = "spiculated" if spiculated else "irregular"
    return Lesion(opacity, edge > 0, 0.36, 45.0, {"shape": "lobulated", "margin": margin, "density": "solid"})


def opacity(site: Site) -> Lesion:
    """A large hazy cloud, 50 to 90 mm, through which vessels are still seen."""
    r, angle = _polar(site)
    radius = site.rng.uniform(26, 42)
    stretch = 1 + 0.22 * np.cos(2 * (angle - np.float32(site.rng.uniform(0, np.pi))))
    reach = radius * (stretch + wobble(site.rng, angle, 0.06, 4))
    cloud = np.exp(-((r / (reach * np.float32(0.78))) ** 4))
    cloud = cloud * (np.float32(0.9) + smooth_noise(site.rng, site.grid.size, 16) * np.float32(0.12))
    attributes: dict[str, str | float] = {"shape": "irregular", "margin": "ill-defined", "density": "ground-glass"}
    return Lesion(cloud * soft(site.inside, 3), (r < reach * 0.8) & (site.inside > 0), 0.24, -560.0, attributes)


def calcification(site: Site) -> Lesion:
    """A cluster of two to five tiny, very dense spots of 4 to 8 mm, never below a pixel and a half."""
    total = np.zeros_like(site.grid.x)
    mask = np.zeros(site.grid.x.shape, dtype=bool)
    count = int(site.rng.integers(2, 6))
    turn = site.rng.uniform(0, 2 * np.pi)
    for k in range(count):
        phi, reach = turn + 2 * np.pi * k / count, site.rng.uniform(4.5, 9)
        x, y = site.center[0] + reach * np.cos(phi), site.center[1] + reach * np.sin(phi)
        radius = max(site.rng.uniform(2.1, 3.8), 0.75 * site.grid.spacing_mm)
        edge = radius - np.hypot(site.grid.x - np.float32(x), site.grid.y - np.float32(y))
        total = np.maximum(total, soft(edge, 0.8))
        mask |= edge > 0
    return Lesion(total, mask, 0.62, 900.0, {"shape": "clustered", "margin": "smooth", "density": "calcified"})


def cavity(site: Site) -> Lesion:
    """A bright ring with an air-filled centre, 32 to 52 mm across."""
    r, angle = _polar(site)
    radius = site.rng.uniform(16, 26)
    edge = radius * (1 + wobble(site.rng, angle, 0.035, 4)) - r
    wall = radius * site.rng.uniform(0.26, 0.36)
    ring = soft(edge, 1.5) * soft(np.float32(wall) - edge, 1.5)
    centre = soft(edge - np.float32(wall), 1.5)
    lift = np.where(edge < wall, np.float32(0.38), np.float32(-0.11))
    density = np.where(edge < wall, np.float32(40), np.float32(-1000))
    attributes: dict[str, str | float] = {"shape": "ring", "margin": "irregular", "density": "cavitary"}
    return Lesion(np.maximum(ring, centre), edge > 0, lift, density, attributes)


PAINTERS: dict[str, Callable[[Site], Lesion]] = {
    "nodule": nodule,
    "mass": mass,
    "opacity": opacity,
    "calcification": calcification,
    "cavity": cavity,
}
"""Findings that sit anywhere in a lobe, by label."""

CLEARANCE_MM = {"nodule": 16.0, "mass": 24.0, "opacity": 20.0, "calcification": 14.0, "cavity": 24.0}
"""How far the centre stays from the lobe's edge; halved where the lobe is too thin."""
