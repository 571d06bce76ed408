"""One phantom CT slice: a patient's chest cut across, in Hounsfield units, in radiological display.

The viewer looks from the feet: the patient's left is on the picture's right (+x) and the back is down (+y). ``level``
runs from 0 (apex of the lungs) to 1 (below the domes of the diaphragm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medclm.samples.chest import LOBES, SIDES, ChestAnatomy
from medclm.samples.fields import Field, Grid, ellipse, make_grid, smooth_max, smooth_min, smooth_noise, soft
from medclm.samples.lesions import PAINTERS, Lesion
from medclm.samples.place import LABELS, Placed, accept, choose_labels, paint_in_lobe, tries
from medclm.samples.radiograph import PhantomImage

HEIGHT_MM = 250.0
"""Distance from level 0 to level 1."""

CT_LABELS = tuple(label for label in LABELS if label != "cardiomegaly")


@dataclass
class AxialChest:
    """A drawn slice: ``hounsfield`` (H, W) float32, masks by organ, and distance fields of rib cage and lungs."""

    grid: Grid
    hounsfield: Field
    masks: dict[str, np.ndarray]
    cage: Field
    lungs: dict[str, Field]
    level: float


def axial(anatomy: ChestAnatomy, rng: np.random.Generator, size: int, level: float) -> PhantomImage:
    """An axial slice of the patient at ``level`` with nought to three findings."""
    grid = make_grid(size, 2 * anatomy.body + 50, 0.0, (0.0, float(rng.normal(0, 2))))
    chest = draw_axial(anatomy, grid, rng, level)
    findings = _add_findings(chest, choose_labels(rng, CT_LABELS), rng)
    grain = rng.standard_normal(grid.x.shape, dtype=np.float32)
    grain = grain + np.roll(grain, 1, axis=0) + np.roll(grain, 1, axis=1)
    hounsfield = chest.hounsfield + grain * np.float32(rng.uniform(6, 11))
    return PhantomImage(hounsfield, chest.masks, tuple(findings), grid.spacing_mm, "axial", -level * HEIGHT_MM)


def draw_axial(a: ChestAnatomy, grid: Grid, rng: np.random.Generator, level: float) -> AxialChest:
    """Draw the healthy slice."""
    wide = a.width * (0.62 + 0.38 * min(1.0, level / 0.45) ** 0.6)
    cage = ellipse(grid, (0, 0), (wide, 0.70 * wide + 8))
    body = _blend(grid.x * 0 - 1000, ellipse(grid, (0, 6), (max(a.body, wide + 26), 0.70 * wide + 44)), -105)
    body = _blend(body, cage + 15, 48, 3)
    table = 3 - np.abs(grid.y - (0.70 * wide + 60) + grid.x * grid.x * np.float32(0.0009))
    body = _blend(body, np.minimum(table, 190 - np.abs(grid.x)), -250)
    chest = AxialChest(grid, _blend(body, cage, -60, 2), {}, cage, {}, level)
    middle = _mediastinum(a, grid, level)
    domes = _domes(a, grid, level)
    for side, sign in SIDES.items():
        inner = smooth_min(cage - 1, -middle, sign * grid.x - 9, radius_mm=10)
        chest.lungs[side] = smooth_min(inner, -domes[side], radius_mm=4)
    _draw_trunk(chest, a, middle, domes, rng)
    _draw_lungs(chest, rng)
    _draw_bones(chest)
    _cut_lobes(chest, a)
    chest.hounsfield += smooth_noise(rng, grid.size, 8) * 6
    return chest


def _blend(base: Field, distance: Field, value: float | Field, edge_mm: float = 1.2) -> Field:
    return base + soft(distance, edge_mm) * (value - base)


def _mediastinum(a: ChestAnatomy, grid: Grid, level: float) -> Field:
    """Distance field of everything between the lungs: great vessels above, heart below, spine behind."""
    upper = ellipse(grid, (2, 0), (a.mediastinum + 8, 62))
    spine = ellipse(grid, (0, 62), (31, 30))
    return smooth_max(upper, spine, _heart(a, grid, level) - 2, radius_mm=14)


def _heart(a: ChestAnatomy, grid: Grid, level: float) -> Field:
    """Distance field of the heart; far outside above and below it."""
    size = np.sqrt(max(0.0, 1 - ((level - 0.66) / 0.25) ** 2))
    if size < 0.25:
        return np.full_like(grid.x, -60)
    reach = a.heart_ratio * a.width * size
    return ellipse(grid, (0.16 * a.width, -14), (reach, 0.72 * reach), 28)


def _domes(a: ChestAnatomy, grid: Grid, level: float) -> dict[str, Field]:
    """Distance fields of the abdomen under each hemidiaphragm."""
    below = {"right": level - 0.66 - 0.0015 * (a.dome["right"] - 63), "left": level - 0.74}
    domes = {}
    for side, sign in SIDES.items():
        grown = np.sqrt(np.clip(below[side] / 0.30, 0, 1)) if below[side] > 0.01 else 0.0
        radii = (0.52 * a.width * grown + 1, 0.62 * a.width * grown + 1)
        shape = ellipse(grid, (sign * 0.45 * a.width, -6), radii)
        domes[side] = shape if grown else np.full_like(grid.x, -60)
    return domes


def _draw_trunk(
    chest: AxialChest, a: ChestAnatomy, middle: Field, domes: dict[str, Field], rng: np.random.Generator
) -> None:
    grid, level = chest.grid, chest.level
    heart = _heart(a, grid, level)
    hu = _blend(chest.hounsfield, np.minimum(middle, chest.cage), 20, 2)
    liver = np.minimum(smooth_max(domes["right"], domes["right"] - 8, radius_mm=4), chest.cage)
    hu = _blend(hu, liver, 95)
    hu = _blend(hu, np.minimum(domes["left"], chest.cage), 55)
    gas = ellipse(grid, (0.42 * a.width, -0.3 * a.width), (26, 14))
    hu = _blend(hu, np.minimum(gas, domes["left"] - 6), -900)
    hu = _blend(hu, np.minimum(heart, -liver), 120, 2.5)
    hu = _blend(hu, np.minimum(heart - 9, ellipse(grid, (0.1 * a.width, -20), (24, 17), 28)), 190, 4)
    aorta = ellipse(grid, (18, 38), (11.5, 11.5))
    chest.masks["aorta"] = aorta > 0
    if 0.18 < level < 0.5:
        rising = ellipse(grid, (-10, -20), (15, 15))
        chest.masks["aorta"] |= rising > 0
        aorta = np.maximum(aorta, rising)
    chest.hounsfield = _blend(hu, aorta, 210)
    if level < 0.36:
        windpipe = ellipse(grid, (rng.normal(0, 2), 6), (9, 8.5))
        chest.hounsfield = _blend(chest.hounsfield, windpipe, -980)
        chest.masks["trachea"] = windpipe > 0
    chest.masks["heart"], chest.masks["liver"] = (heart > 0) & (liver <= 0), liver > 0


def _draw_lungs(chest: AxialChest, rng: np.random.Generator) -> None:
    grid = chest.grid
    fov = grid.spacing_mm * grid.size
    base = np.float32(rng.uniform(-875, -835)) + grid.y * np.float32(0.35)
    near = np.exp(-np.abs(grid.x) / 60)
    spots = np.clip(smooth_noise(rng, grid.size, int(fov / 4.5)) - 1.9 + near, 0, 0.8) * 750
    texture = base + smooth_noise(rng, grid.size, int(fov / 30)) * 9 + spots * (0.3 + 0.8 * near)
    for side, sign in SIDES.items():
        chest.hounsfield = _blend(chest.hounsfield, chest.lungs[side], texture)
        if 0.3 < chest.level < 0.6:
            hilum = ellipse(grid, (sign * 42, 6), (15, 10), sign * 30)
            chest.hounsfield = _blend(chest.hounsfield, hilum, 150, 3)
            chest.hounsfield = _blend(chest.hounsfield, ellipse(grid, (sign * 36, 14), (5, 5)), -950)
        chest.masks[f"{side}_lung"] = chest.lungs[side] > 0


def _draw_bones(chest: AxialChest) -> None:
    grid, hu = chest.grid, chest.hounsfield
    angle = np.arctan2(grid.y, np.abs(grid.x))
    shift = np.float32(chest.level * 40)
    beat = np.cos(angle * 9 + shift) - np.float32(0.25)
    ribs = np.minimum(np.float32(4.5) - np.abs(chest.cage + 8), beat * 12)
    ribs = np.where((grid.y > -0.62 * grid.x.max()) & (np.abs(grid.x) > 24), ribs, -5)
    hu = _blend(hu, ribs, 520)
    hu = _blend(hu, ribs - 2.4, 250)
    front = float(grid.y[(chest.cage > 0).any(axis=1)].min())
    hu = _blend(hu, ellipse(grid, (0, front - 7), (19, 6.5)), 260)
    body = ellipse(grid, (0, 62), (20, 16))
    arch = np.maximum(ellipse(grid, (0, 89), (22, 9)), ellipse(grid, (0, 103), (5, 15)))
    canal = ellipse(grid, (0, 85), (8.5, 8))
    hu = _blend(_blend(hu, arch, 420), canal, 25)
    hu = _blend(_blend(hu, body, 480), body - 2.5, 210)
    chest.hounsfield = hu
    chest.masks["spine"] = (np.maximum(body, arch) > 0) | (canal > 0)
    for side, sign in SIDES.items():
        chest.masks[f"{side}_ribs"] = (ribs > 0) & (sign * grid.x > 0)


def _cut_lobes(chest: AxialChest, a: ChestAnatomy) -> None:
    """Lobes by the oblique fissure, which moves forward from apex to base; the middle lobe replaces the upper below."""
    fissure = np.float32(95 - 190 * chest.level + a.fissures["left"])
    front = chest.grid.y - np.abs(chest.grid.x) * np.float32(0.15) < fissure - 8
    for side in SIDES:
        ahead = LOBES[side][1] if side == "right" and chest.level > 0.5 else f"{side}_upper_lobe"
        chest.masks[ahead] = chest.masks[f"{side}_lung"] & front
        chest.masks[f"{side}_lower_lobe"] = chest.masks[f"{side}_lung"] & ~front


def _add_findings(chest: AxialChest, labels: list[str], rng: np.random.Generator) -> list[Placed]:
    placed: list[Placed] = []
    for label in sorted(labels, key=lambda x: x in PAINTERS):
        for _ in tries():
            side = "left" if rng.random() < 0.5 else "right"
            lobes = {name: chest.masks[name] for name in LOBES[side] if name in chest.masks}
            lesion = _paint(chest, label, side, lobes, rng)
            found = accept(label, lesion, side, lobes, placed) if lesion else None
            if lesion and found:
                chest.hounsfield += lesion.opacity * (lesion.density - chest.hounsfield)
                placed.append(found)
                break
    return placed


def _paint(
    chest: AxialChest, label: str, side: str, lobes: dict[str, np.ndarray], rng: np.random.Generator
) -> Lesion | None:
    names = sorted(name for name, mask in lobes.items() if mask.sum() * chest.grid.spacing_mm**2 > 1500)
    if not names:
        return None
    lobe = lobes[names[int(rng.integers(len(names)))]]
    if label in PAINTERS:
        drawn = paint_in_lobe(label, chest.grid, lobe, chest.lungs[side], rng)
        return drawn[0] if drawn else None
    return _regional(chest, label, side, lobe, rng)


def _regional(chest: AxialChest, label: str, side: str, lobe: np.ndarray, rng: np.random.Generator) -> Lesion:
    """Consolidation of a lobe's outer part, fluid behind the lung, or air in front of it."""
    lung, y = chest.lungs[side], chest.grid.y
    if label == "consolidation":
        rind = np.float32(rng.uniform(32, 55)) - chest.cage + smooth_noise(rng, chest.grid.size, 9) * 6
        edge = np.minimum(lung, np.where(lobe, rind, np.float32(-9)))
        twigs = np.clip(1 - np.abs(smooth_noise(rng, chest.grid.size, 15)) * 7, 0, 1)
        value = 25 - twigs * 800
        facts = {"shape": "lobar", "margin": "ill-defined", "density": "consolidated"}
        return Lesion(soft(edge, 3), edge > 0, 0.0, value, dict(facts))
    rows = y[lung > 0] if (lung > 0).any() else y.ravel()
    bend = np.abs(chest.grid.x) * np.float32(0.22)
    if label == "effusion":
        edge = np.minimum(lung + 1, y + bend - np.float32(rows.max() - rng.uniform(16, 34)) - 14)
        facts = {"shape": "crescent", "margin": "smooth", "density": "fluid"}
        return Lesion(soft(edge, 1.5), (edge > 0) & (lung > 0), 0.0, 10.0, dict(facts))
    edge = np.minimum(lung, np.float32(rows.min() + rng.uniform(14, 28)) + bend * np.float32(0.4) - y)
    line = soft(1.2 - np.abs(edge), 1.0) * (lung > 1)
    facts = {"shape": "crescent", "margin": "smooth", "density": "air"}
    return Lesion(np.maximum(soft(edge, 1), line), edge > 0, 0.0, -1000 + line * 900, dict(facts))
