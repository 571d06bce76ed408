"""Placing findings: which label, which side and lobe, where in it, and a check that the result is what it claims."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medclm.data.records import BoxXyxy
from medclm.samples.fields import Field, Grid
from medclm.samples.lesions import CLEARANCE_MM, PAINTERS, Lesion, Site

LABELS = (
    "nodule",
    "mass",
    "opacity",
    "consolidation",
    "effusion",
    "calcification",
    "cavity",
    "pneumothorax",
    "cardiomegaly",
)
"""The phantoms' findings; COCO category ids are 1 to 9 in this order."""

REPEATABLE = ("nodule", "mass", "calcification", "cavity")
"""Findings that a picture may show twice or three times."""

FINDING_COUNTS = (0.25, 0.38, 0.25, 0.12)
"""Shares of pictures meant to have none, one, two and three findings."""

_TRIES = 8
_SHRINK = 4
_LEAST_AREA = 5


@dataclass(frozen=True)
class Placed:
    """A finding in the picture: its label, true host organ, side of the patient, pixel mask and box."""

    label: str
    organ: str
    side: str
    mask: np.ndarray
    box_xyxy: BoxXyxy
    attributes: dict[str, str | float]


def choose_labels(rng: np.random.Generator, labels: tuple[str, ...] = LABELS) -> list[str]:
    """Labels of one picture's findings: none to three, now and then the same one again."""
    count = int(rng.choice(4, p=FINDING_COUNTS))
    chosen: list[str] = []
    for _ in range(count):
        again = bool(chosen) and chosen[0] in REPEATABLE and rng.random() < 0.35
        free = [label for label in labels if label not in chosen]
        chosen.append(chosen[0] if again else free[int(rng.integers(len(free)))])
    return chosen


def box_of(mask: np.ndarray) -> BoxXyxy:
    """Tight box of a mask (H, W) that is not empty: ``(x1, y1, x2, y2)`` pixels, x2 and y2 exclusive."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def boxes_touch(a: BoxXyxy, b: BoxXyxy, margin: float = 3.0) -> bool:
    """Whether two boxes come closer than ``margin`` pixels in both directions."""
    return a[0] < b[2] + margin and b[0] < a[2] + margin and a[1] < b[3] + margin and b[1] < a[3] + margin


def random_center(rng: np.random.Generator, grid: Grid, space: np.ndarray, clearance_mm: float) -> tuple[float, float]:
    """A point of ``space`` (H, W bool) at least ``clearance_mm`` from its edge, or as far in as half of its depth."""
    coarse = space[_SHRINK // 2 :: _SHRINK, _SHRINK // 2 :: _SHRINK]
    padded = ndimage.distance_transform_edt(np.pad(coarse, 1))[1:-1, 1:-1] * (grid.spacing_mm * _SHRINK)
    rows, columns = np.nonzero(padded >= min(clearance_mm, padded.max() * 0.6))
    pick = int(rng.integers(len(rows)))
    row, column = (int(v[pick]) * _SHRINK + _SHRINK // 2 for v in (rows, columns))
    return float(grid.x[row, column]), float(grid.y[row, column])


def paint_in_lobe(
    label: str, grid: Grid, lobe: np.ndarray, lung: Field, rng: np.random.Generator
) -> tuple[Lesion, tuple[float, float]] | None:
    """A lesion of ``label`` centred in ``lobe``, or None if the lobe is not in the picture."""
    if lobe[:: _SHRINK * 2, :: _SHRINK * 2].sum() < 4:
        return None
    center = random_center(rng, grid, lobe, CLEARANCE_MM[label])
    return PAINTERS[label](Site(grid, center, lung, rng)), center


def accept(label: str, lesion: Lesion, side: str, lobes: dict[str, np.ndarray], placed: list[Placed]) -> Placed | None:
    """The finding, if its mask lies in the lung, mostly in one lobe, and clear of those ``placed``; else None."""
    area = int(lesion.mask.sum())
    if area < _LEAST_AREA:
        return None
    shares = {name: float((lesion.mask & mask).sum()) / area for name, mask in lobes.items()}
    organ = max(shares, key=lambda name: shares[name])
    if sum(shares.values()) < 0.9 or shares[organ] < 0.7:
        return None
    box = box_of(lesion.mask)
    if any(boxes_touch(box, other.box_xyxy) for other in placed if other.organ != "heart"):
        return None
    return Placed(label, organ, side, lesion.mask, box, dict(lesion.attributes))


def zone_of(box_xyxy: BoxXyxy, lung: np.ndarray) -> str:
    """Third of the lung's own box that holds the middle of ``box_xyxy``: upper, middle or lower."""
    _, top, _, bottom = box_of(lung)
    share = ((box_xyxy[1] + box_xyxy[3]) / 2 - top) / (bottom - top)
    return "upper" if share < 1 / 3 else "middle" if share < 2 / 3 else "lower"


def tries() -> range:
    """How often a finding that does not fit is tried again, with another side and place."""
    return range(_TRIES)
