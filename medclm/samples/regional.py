"""Findings of the radiograph that belong to a region: consolidation, effusion, pneumothorax."""

from __future__ import annotations

import numpy as np

from medclm.samples.chest import LOBES, Chest, chest_wall
from medclm.samples.fields import smooth_noise, soft
from medclm.samples.lesions import Lesion


def consolidation(chest: Chest, side: str, rng: np.random.Generator) -> Lesion:
    """A lobe, or its part near the fissure, turned dense: a sharp fissure border and dark air bronchograms."""
    lobe = LOBES[side][int(rng.integers(len(LOBES[side])))]
    mask = chest.masks[lobe]
    rows = np.flatnonzero(mask.any(axis=1))
    spacing = chest.grid.spacing_mm
    depth = rng.uniform(45, 75) / spacing
    line = np.arange(chest.grid.size, dtype=np.float32)[:, None]
    reach = line - (rows[-1] - depth) if lobe.endswith("upper_lobe") else (rows[0] + depth) - line
    reach = reach * np.float32(spacing) + smooth_noise(rng, chest.grid.size, 9) * 5
    edge = np.minimum(chest.lungs[side], np.where(mask, reach, np.float32(-9)))
    patches = smooth_noise(rng, chest.grid.size, 22)
    twigs = np.clip(1 - np.abs(smooth_noise(rng, chest.grid.size, 15)) * 7, 0, 1)
    opacity = soft(edge, 3) * np.clip(np.float32(0.88) + patches * np.float32(0.09) - twigs * np.float32(0.3), 0, 1.1)
    return Lesion(opacity, edge > 0, 0.33, 20.0, {"shape": "lobar", "margin": "ill-defined", "density": "consolidated"})


def effusion(chest: Chest, side: str, rng: np.random.Generator) -> Lesion:
    """Fluid over the diaphragm: even, dense, with a meniscus that climbs the chest wall and a blunted angle."""
    a, u = chest.anatomy, chest.lateral[side]
    level = a.dome[side] + rng.uniform(-22, 10)
    wall = chest_wall(a, chest.grid.y, u)
    climb = rng.uniform(26, 42) * np.exp(-np.clip(wall, 0, 200) / 24)
    edge = np.minimum(chest.grid.y - np.float32(level) + climb, chest.lungs[side] + 1)
    attributes: dict[str, str | float] = {"shape": "meniscus", "margin": "smooth", "density": "fluid"}
    mask = (edge > 0) & chest.masks[f"{side}_lung"]
    return Lesion(soft(edge, 3), mask, np.float32(0.68) - chest.grey, 10.0, attributes)


def pneumothorax(chest: Chest, side: str, rng: np.random.Generator) -> Lesion:
    """Air between the apex and a thin pleural line: a dark crescent without vessels."""
    a, u, y = chest.anatomy, chest.lateral[side], chest.grid.y
    widest, bottom = rng.uniform(20, 32), a.apex + rng.uniform(95, 125)
    wall = chest_wall(a, y, u)
    width = widest * np.clip((np.float32(bottom) - y) / np.float32(0.6 * (bottom - a.apex)), 0, 1) ** 0.7
    edge = np.minimum(width - wall, chest.lungs[side])
    line = np.clip(1 - np.abs(wall - width) / 1.6, 0, 1) * soft(chest.lungs[side], 2) * (width > 1)
    lift = np.where(line > 0.2, np.float32(0.16) * line, np.float32(-0.15))
    attributes: dict[str, str | float] = {"shape": "crescent", "margin": "smooth", "density": "air"}
    return Lesion(np.maximum(soft(edge, 1.5), line > 0.2), edge > 0, lift, -1000.0, attributes)


REGIONAL = {"consolidation": consolidation, "effusion": effusion, "pneumothorax": pneumothorax}
"""Radiographic findings that take a side instead of a centre, by label."""
