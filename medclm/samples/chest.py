"""The chest radiograph: a patient's anatomy, seen from the front and drawn as grey values with its true organ masks.

Left and right are the patient's: the patient's left is on the picture's right (+x). Grey runs from 0 (air) to about 1
(metal), bright is dense, as a viewer shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medclm.samples.fields import Field, Grid, crop_of, ellipse, smooth_max, smooth_min, smooth_noise, soft

SIDES = {"left": 1, "right": -1}
"""Sign of x for each side of the patient."""

LOBES = {
    "left": ("left_upper_lobe", "left_lower_lobe"),
    "right": ("right_upper_lobe", "right_middle_lobe", "right_lower_lobe"),
}


@dataclass(frozen=True)
class ChestAnatomy:
    """What one patient's chest measures, in millimetres from the chest's centre (see the module's convention)."""

    width: float
    apex: float
    angle: float
    dome: dict[str, float]
    mediastinum: float
    heart_ratio: float
    heart_angle: float
    rib_start: float
    rib_spacing: float
    rib_slope: float
    rib_thickness: float
    clavicle: float
    body: float
    lung_grey: float
    tissue_grey: float
    bone_grey: float
    fissures: dict[str, float]


@dataclass
class Chest:
    """A drawn chest: ``grey`` (H, W) float32, organ masks (H, W) bool by vocabulary name, and the
    distance fields of the visible lungs (``lungs``) and from the midline (``lateral``), both by side."""

    grid: Grid
    grey: Field
    masks: dict[str, np.ndarray]
    lungs: dict[str, Field]
    lateral: dict[str, Field]
    anatomy: ChestAnatomy
    heart_ratio: float


def sample_anatomy(rng: np.random.Generator) -> ChestAnatomy:
    """A patient. Ranges follow an adult's posteroanterior radiograph; cardiothoracic ratio 0.40 to 0.49."""
    width, right_dome = rng.uniform(122, 146), rng.uniform(52, 74)
    return ChestAnatomy(
        width=width,
        apex=rng.uniform(-132, -112),
        angle=rng.uniform(102, 122),
        dome={"right": right_dome, "left": right_dome + rng.uniform(7, 16)},
        mediastinum=rng.uniform(24, 31),
        heart_ratio=rng.uniform(0.40, 0.49),
        heart_angle=rng.uniform(22, 42),
        rib_start=rng.uniform(-150, -138),
        rib_spacing=rng.uniform(21.5, 26),
        rib_slope=rng.uniform(38, 62),
        rib_thickness=rng.uniform(7.5, 10),
        clavicle=rng.uniform(-112, -98),
        body=width + rng.uniform(20, 38),
        lung_grey=rng.uniform(0.15, 0.21),
        tissue_grey=rng.uniform(0.50, 0.58),
        bone_grey=rng.uniform(0.07, 0.11),
        fissures={"left": rng.uniform(-12, 8), "upper": rng.uniform(-22, -4), "lower": rng.uniform(26, 40)},
    )


def anteroposterior(anatomy: ChestAnatomy) -> ChestAnatomy:
    """The same patient lying on the plate: larger heart, higher diaphragm, higher and flatter clavicles."""
    dome = {side: y - 8 for side, y in anatomy.dome.items()}
    return replace(
        anatomy,
        dome=dome,
        heart_ratio=anatomy.heart_ratio * 1.07,
        mediastinum=anatomy.mediastinum * 1.1,
        clavicle=anatomy.clavicle - 12,
    )


def draw_chest(anatomy: ChestAnatomy, grid: Grid, rng: np.random.Generator, heart_ratio: float | None = None) -> Chest:
    """Draw the healthy chest; ``heart_ratio`` overrides the patient's cardiothoracic ratio (cardiomegaly)."""
    ratio = anatomy.heart_ratio if heart_ratio is None else heart_ratio
    lateral = {side: sign * grid.x for side, sign in SIDES.items()}
    heart = _heart(anatomy, grid, ratio)
    cavity = {side: _lung(anatomy, grid.y, lateral[side], side) for side in SIDES}
    fields = {side: smooth_min(cavity[side], -heart, radius_mm=4) for side in SIDES}
    belly = {side: grid.y - _diaphragm(anatomy, lateral[side], side) for side in SIDES}
    chest = Chest(grid, np.zeros_like(grid.x), {}, fields, lateral, anatomy, ratio)
    _draw_soft_tissue(chest, heart, belly, rng)
    _draw_vessels(chest, rng)
    _draw_bones(chest)
    _cut_lobes(chest)
    chest.masks["heart"] = heart > 0
    chest.masks["liver"] = _liver(anatomy, grid, belly["right"]) > 0
    return chest


def chest_wall(a: ChestAnatomy, y: Field, u: Field) -> Field:
    """Distance from the rib cage's inside at the side and the top, ``u`` from the midline; positive within."""
    top = np.float32(a.apex) + ((u - np.float32(0.38 * a.width)) / np.float32(0.38 * a.width)) ** 2 * 34
    return smooth_min(_wall(a, y) - u, y - top, radius_mm=14)


def _wall(a: ChestAnatomy, y: Field) -> Field:
    """Half width of the rib cage's inside at each height."""
    t = np.clip((y - np.float32(a.apex)) / np.float32(a.angle - a.apex), 0, 1.1)
    q = (1 - t) * (1 - t)
    return np.float32(a.width) * np.sqrt(1 - q * q) * (np.float32(0.82) + np.float32(0.18) * t)


def _diaphragm(a: ChestAnatomy, u: Field, side: str) -> Field:
    """Height of the hemidiaphragm at each distance ``u`` from the midline."""
    top, crest = np.float32(a.dome[side]), np.float32(0.48 * a.width)
    outer = np.clip((u - crest) / np.float32(a.width - crest), 0, 1.08)
    inner = np.maximum(crest - u, 0) / crest
    return top + np.float32(a.angle - a.dome[side]) * (outer * outer + np.float32(0.35) * inner * inner)


def _lung(a: ChestAnatomy, y: Field, u: Field, side: str) -> Field:
    """Distance field of one lung's cavity, the part behind the heart included."""
    hilum = np.exp(-(((y + 10) / 45) ** 2)) * 5
    medial = u - np.float32(a.mediastinum) - hilum + np.maximum(-60 - y, 0) * np.float32(0.06)
    walls = smooth_min(chest_wall(a, y, u), medial, radius_mm=14)
    return smooth_min(walls, _diaphragm(a, u, side) - y, radius_mm=3)


def _heart(a: ChestAnatomy, grid: Grid, ratio: float) -> Field:
    """Distance field of the heart's silhouette above the diaphragm; its width is ``ratio`` of the chest's."""
    angle = np.radians(a.heart_angle)
    reach = float(np.hypot(62 * np.cos(angle), 47 * np.sin(angle)))
    scale = ratio * 2 * a.width * 0.985 / (20 + reach + 42)
    base = a.dome["left"] + 9
    y0 = base - 38 * scale
    ventricle = ellipse(grid, (20 * scale, y0), (62 * scale, 47 * scale), a.heart_angle)
    atrium = ellipse(grid, (-12 * scale, y0 - 2), (30 * scale, 41 * scale))
    body = smooth_max(ventricle, atrium, radius_mm=16)
    return smooth_min(body, np.float32(base) - grid.y, radius_mm=10)


def _liver(a: ChestAnatomy, grid: Grid, below: Field) -> Field:
    """Distance field of the liver's part under the right hemidiaphragm."""
    lower = np.float32(a.angle + 48) - np.float32(0.28) * (grid.x + np.float32(a.width)) - grid.y
    return smooth_min(below, np.float32(a.width - 3) + grid.x, np.float32(38) - grid.x, lower, radius_mm=8)


def _body(a: ChestAnatomy, grid: Grid) -> Field:
    """Distance field of the body: neck, shoulders, chest wall."""
    y = grid.y
    neck = 1 / (1 + np.exp(-(y - np.float32(a.apex + 0.0)) / 9))
    arm = 1 / (1 + np.exp(-(y - np.float32(a.apex + 95)) / 14))
    half = 58 + np.float32(a.body + 34 - 58) * neck - 34 * arm
    return half - np.abs(grid.x)


def _draw_soft_tissue(chest: Chest, heart: Field, belly: dict[str, Field], rng: np.random.Generator) -> None:
    a, grid = chest.anatomy, chest.grid
    inside = _body(a, grid)
    depth = np.sqrt(np.clip(inside / 110, 0, 1))
    grey = np.float32(0.02) + soft(inside, 2.5) * (np.float32(a.tissue_grey - 0.22) + np.float32(0.22) * depth)
    middle = soft(np.float32(a.mediastinum + 4) - np.abs(grid.x - 3), 9) * soft(grid.y - np.float32(a.apex - 30), 30)
    grey += middle * (np.float32(0.66) - grey) * np.float32(0.75)
    abdomen = np.where(grid.x > 0, belly["left"], belly["right"])
    grey += soft(abdomen, 2.0) * soft(inside, 6) * np.float32(0.11)
    grey += soft(_liver(a, grid, belly["right"]), 9) * np.float32(0.07)
    gas = ellipse(
        grid, (rng.uniform(62, 84), a.dome["left"] + rng.uniform(20, 26)), (rng.uniform(14, 26), rng.uniform(7, 11))
    )
    grey -= soft(gas, 3) * np.float32(0.24)
    for lung in chest.lungs.values():
        gradient = np.float32(a.lung_grey) + (grid.y - np.float32(a.apex)) * np.float32(0.00035)
        gradient = gradient + np.clip((50 - lung) / 50, 0, 1) * np.float32(0.06)
        grey += soft(lung, 1.6) * (gradient - grey)
    edge = soft(heart, 2.2)
    grey += edge * (np.float32(0.62) + np.clip(heart / 50, 0, 1) * np.float32(0.12) - grey)
    knob = ellipse(grid, (a.mediastinum + 2, a.apex + 68), (15, 17))
    grey += soft(knob, 3) * np.maximum(np.float32(0.58) - grey, 0)
    windpipe = soft(8.5 - np.abs(grid.x), 3) * soft(np.float32(a.apex + 82) - grid.y, 8)
    grey -= windpipe * np.float32(0.15)
    chest.grey = grey + smooth_noise(rng, grid.size, 6) * np.float32(0.012) * soft(inside, 4)


def _draw_vessels(chest: Chest, rng: np.random.Generator) -> None:
    """Hila and the vessels that fan out from them, thinner and fainter with distance."""
    a, grid = chest.anatomy, chest.grid
    for side in SIDES:
        noise = smooth_noise(rng, grid.size, 7), smooth_noise(rng, grid.size, 12)
        part = crop_of(chest.lungs[side] > -4)
        turn, patchy = noise[0][part] * np.float32(0.35), np.float32(0.85) + noise[1][part] * np.float32(0.2)
        hilum_y = a.apex + (88 if side == "left" else 97)
        du = chest.lateral[side][part] - np.float32(a.mediastinum + 6)
        dy = grid.y[part] - np.float32(hilum_y)
        r = np.sqrt(du * du + dy * dy) + 1
        turns = np.arctan2(dy, du) * np.float32(15 / (2 * np.pi)) + turn
        across = np.abs(turns - np.round(turns)) * np.float32(2 * np.pi / 15) * r
        width = np.maximum(np.float32(4.2) - r * np.float32(0.028), np.float32(1.1))
        branch = np.clip(1 - across / width, 0, 1) * np.exp(-r / 75)
        knot = np.exp(-((du / 11) ** 2) - (dy / 22) ** 2)
        bright = branch * np.float32(0.15) * patchy + knot * np.float32(0.16)
        chest.grey[part] += soft(chest.lungs[side][part], 3) * bright


def _draw_bones(chest: Chest) -> None:
    a, grid = chest.anatomy, chest.grid
    wall, below = _wall(a, grid.y) + 6, np.float32(a.angle + 26) - grid.y
    for side in SIDES:
        u = chest.lateral[side]
        n = u / np.float32(a.width)
        extent = np.minimum(wall - u, below)
        back = np.float32(a.rib_slope) * (n * n * np.float32(1.15) - n * np.float32(0.22))
        front = np.float32(a.rib_slope) * (
            np.float32(0.93) + np.float32(1.35) * (1 - n) - np.float32(0.35) * (1 - n) ** 2
        )
        posterior = _bands(a, grid.y - back, 10) + np.minimum(0, np.minimum(extent, u - 17))
        anterior = _bands(a, grid.y - front, 6) + np.minimum(0, np.minimum(extent, u - np.float32(0.42 * a.width)))
        chest.grey += _bone(posterior) * np.float32(a.bone_grey) + _bone(anterior) * np.float32(0.65 * a.bone_grey)
        chest.masks[f"{side}_ribs"] = np.maximum(posterior, anterior) > 0
        lift = np.float32(a.clavicle) - (u - 20) * np.float32(0.26) + 6 * np.sin((u - 20) / 26)
        collar = np.minimum(6.5 - np.abs(grid.y - lift), np.minimum(u - 13, np.float32(a.width + 8) - u))
        chest.grey += _bone(collar) * np.float32(1.6 * a.bone_grey)
        chest.masks[f"{side}_clavicle"] = collar > 0
    column = 17 - np.abs(grid.x)
    disc = np.cos((grid.y - np.float32(a.rib_start)) * np.float32(2 * np.pi / a.rib_spacing))
    chest.grey += soft(column, 3) * (np.float32(0.07) + disc * np.float32(0.022))
    chest.masks["spine"] = column > 0


def _bands(a: ChestAnatomy, height: Field, last: int) -> Field:
    """Distance field of parallel ribs 0 to ``last``, given the height above each rib's own curve."""
    number = (height - np.float32(a.rib_start)) / np.float32(a.rib_spacing)
    nearest = np.clip(np.round(number), 0, last)
    return np.float32(a.rib_thickness / 2) - np.abs(number - nearest) * np.float32(a.rib_spacing)


def _bone(distance: Field) -> Field:
    """Brightness of a bone with a denser rim."""
    rim = np.clip(1 - np.abs(distance - 1.2) / 1.4, 0, 1)
    return soft(distance, 0.9) * np.float32(0.75) + rim * np.float32(0.35)


def _cut_lobes(chest: Chest) -> None:
    """Lung masks and their lobes, cut by fissures that rise towards the side (lobes as seen from the front)."""
    a, y = chest.anatomy, chest.grid.y
    for side in SIDES:
        chest.masks[f"{side}_lung"] = chest.lungs[side] > 0
    left, right = chest.masks["left_lung"], chest.masks["right_lung"]
    oblique = y < np.float32(a.fissures["left"]) + (chest.lateral["left"] - 70) * np.float32(0.12)
    chest.masks["left_upper_lobe"], chest.masks["left_lower_lobe"] = left & oblique, left & ~oblique
    horizontal = y < np.float32(a.fissures["upper"]) + (chest.lateral["right"] - 70) * np.float32(0.06)
    lower = y > np.float32(a.fissures["lower"]) + (chest.lateral["right"] - 70) * np.float32(-0.35)
    chest.masks["right_upper_lobe"] = right & horizontal
    chest.masks["right_lower_lobe"] = right & lower & ~horizontal
    chest.masks["right_middle_lobe"] = right & ~horizontal & ~lower
