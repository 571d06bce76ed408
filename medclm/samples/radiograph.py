"""One phantom radiograph: a patient's chest from the front with findings in it, ready to be written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medclm.samples.chest import LOBES, Chest, ChestAnatomy, anteroposterior, draw_chest
from medclm.samples.fields import Field, make_grid
from medclm.samples.lesions import PAINTERS, Lesion
from medclm.samples.place import Placed, accept, box_of, choose_labels, paint_in_lobe, tries, zone_of
from medclm.samples.regional import REGIONAL


@dataclass(frozen=True)
class PhantomImage:
    """A drawn picture. ``values`` (H, W) float32: grey 0 to 1 (radiograph) or Hounsfield units (CT)."""

    values: Field
    masks: dict[str, np.ndarray]
    findings: tuple[Placed, ...]
    spacing_mm: float
    view: str
    position_mm: float = 0.0


def radiograph(anatomy: ChestAnatomy, rng: np.random.Generator, size: int) -> PhantomImage:
    """A frontal radiograph of the patient, PA or AP, with nought to three findings."""
    view = "AP" if rng.random() < 0.35 else "PA"
    seen = anteroposterior(anatomy) if view == "AP" else anatomy
    shift = (float(rng.normal(0, 5)), float(rng.normal(6, 5)))
    grid = make_grid(size, float(rng.uniform(352, 425)), float(rng.normal(0, 2.2)), shift)
    labels = choose_labels(rng)
    ratio = float(rng.uniform(0.58, 0.66)) if "cardiomegaly" in labels else None
    chest = draw_chest(seen, grid, rng, ratio)
    findings = add_findings(chest, labels, rng)
    add_marker(chest.grey, grid.spacing_mm)
    grey = add_noise(chest.grey, rng)
    return PhantomImage(grey, chest.masks, tuple(findings), grid.spacing_mm, view)


def add_findings(chest: Chest, labels: list[str], rng: np.random.Generator) -> list[Placed]:
    """Draw the findings that fit into ``chest`` and say what they became; large ones are placed first."""
    placed: list[Placed] = []
    if "cardiomegaly" in labels:
        heart = chest.masks["heart"]
        attributes: dict[str, str | float] = {"cardiothoracic_ratio": round(chest.heart_ratio, 2), "shape": "enlarged"}
        placed.append(Placed("cardiomegaly", "heart", "midline", heart, box_of(heart), attributes))
    for label in sorted((x for x in labels if x != "cardiomegaly"), key=lambda x: x not in REGIONAL):
        for _ in tries():
            side = "left" if rng.random() < 0.5 else "right"
            lesion = _paint(chest, label, side, rng)
            lobes = {name: chest.masks[name] for name in LOBES[side]}
            found = accept(label, lesion, side, lobes, placed) if lesion else None
            if lesion and found:
                chest.grey += lesion.opacity * lesion.lift
                found.attributes["zone"] = zone_of(found.box_xyxy, chest.masks[f"{side}_lung"])
                placed.append(found)
                break
    return placed


def _paint(chest: Chest, label: str, side: str, rng: np.random.Generator) -> Lesion | None:
    if label not in PAINTERS:
        return REGIONAL[label](chest, side, rng)
    lobe = LOBES[side][int(rng.integers(len(LOBES[side])))]
    drawn = paint_in_lobe(label, chest.grid, chest.masks[lobe], chest.lungs[side], rng)
    return drawn[0] if drawn else None


def add_marker(grey: Field, spacing_mm: float) -> None:
    """The lead letter L at the patient's left: the picture's upper right corner. Changes ``grey`` in place."""
    height, stroke = max(5, round(16 / spacing_mm)), max(1, round(3.2 / spacing_mm))
    top, left = round(0.05 * grey.shape[0]), grey.shape[1] - round(0.05 * grey.shape[1]) - round(0.65 * height)
    grey[top : top + height, left : left + stroke] = 0.93
    grey[top + height - stroke : top + height, left : left + round(0.65 * height)] = 0.93


def add_noise(grey: Field, rng: np.random.Generator) -> Field:
    """Quantum noise, stronger where less light came through, and the detector's slight gain pattern."""
    gain = 1 + np.float32(0.01) * rng.standard_normal((1, grey.shape[1]), dtype=np.float32) * np.float32(0.3)
    sigma = np.float32(rng.uniform(0.006, 0.012)) * (np.float32(0.5) + np.clip(grey, 0, 1))
    return grey * gain + sigma * rng.standard_normal(grey.shape, dtype=np.float32)
