"""Organs that nobody segmented but that follow from those somebody did: sides of a pair, zones of a lung, the midline.

Everything here is in display orientation (:mod:`medclm.data.display`): the patient's right is on the picture's left.
Lobes are not made up: on a frontal view they lie over each other, and no lung mask says where a fissure is.
"""

from __future__ import annotations

import numpy as np

from medclm.data import anatomy, boxes
from medclm.data.records import BoxXyxy, Side, Zone

Masks = dict[str, np.ndarray]
SHARED = 0.2
"""A connected part with at least this share on either side of the midline is two organs that touch, and is cut."""
VALLEY = 0.5
"""Between two organs the columns hold at most this share of the pixels of each organ's fullest column."""
ON_MIDLINE = 0.2
"""A lesion with at least this share of its pixels on either side of the midline lies on it."""
ZONES: tuple[Zone, ...] = ("upper", "middle", "lower")
ZONE_OF_MASK: dict[str, Zone] = {"upper": "upper", "apical": "upper", "middle": "middle", "lower": "lower"}
"""Zone masks of a segmenter, NAME of ``left_NAME_lung_zone``, and the zone of a finding that they stand for."""
SIDED_PLANES = ("frontal", "coronal", "axial")
"""Planes that show left and right apart; a lateral radiograph or a sagittal slice does not."""


def derived(masks: Masks) -> Masks:
    """``masks`` with the left and the right part of every pair of which only one common mask is there ("lungs").

    Args:
        masks: (H, W) bool by name of the vocabulary, of a plane of :data:`SIDED_PLANES`.
    """
    result = dict(masks)
    middle = midline_x(masks)
    for name, mask in masks.items():
        pair = anatomy.pair_of(name)
        if pair and not set(pair) & set(masks):
            sides = split_sides(mask, middle)
            parts = dict(zip(pair, (sides["left"], sides["right"]), strict=True))
            result |= {part: half for part, half in parts.items() if half.any()}
    return result


def split_sides(mask: np.ndarray, middle_x: float | None = None) -> dict[Side, np.ndarray]:
    """One mask of a paired organ as {"left": …, "right": …}, both (H, W) bool; their union is ``mask``.

    Connected parts go whole to the side that most of them lies on; two organs that touch are cut at the midline.

    Args:
        mask: (H, W) bool.
        middle_x: column of the midline. Without it, the emptiest column between two humps of the mask; an organ that
            lies alone is compared with the middle of the picture.
    """
    from scipy.ndimage import label

    if middle_x is None:
        middle_x = _valley(mask)
    middle_x = mask.shape[1] / 2 if middle_x is None else middle_x
    on_left = np.broadcast_to(np.arange(mask.shape[1]) + 0.5 >= middle_x, mask.shape)
    parts, count = label(mask, structure=np.ones((3, 3)))
    share = np.bincount(parts.ravel(), on_left.ravel(), count + 1) / np.maximum(np.bincount(parts.ravel()), 1)
    whole = (share < SHARED) | (share > 1 - SHARED)
    left = mask & np.where(whole[parts], share[parts] > 0.5, on_left)
    return {"left": left, "right": mask & ~left}


def _valley(mask: np.ndarray) -> float | None:
    """The middle of the emptiest columns in the central half of the mask; None where no valley parts two humps."""
    counts = mask.sum(axis=0)
    filled = np.flatnonzero(counts)
    if len(filled) < 4:
        return None
    first, last = filled[0], filled[-1] + 1
    quarter = (last - first) // 4
    inner = counts[first + quarter : last - quarter]
    lowest = np.flatnonzero(inner == inner.min())
    middle = len(inner) / 2
    runs = np.split(lowest, np.flatnonzero(np.diff(lowest) > 1) + 1)
    run = min(runs, key=lambda columns: abs(columns.mean() + 0.5 - middle))
    column = first + quarter + (run[0] + run[-1] + 1) / 2
    humps = counts[first : int(column)].max(initial=0), counts[int(np.ceil(column)) : last].max(initial=0)
    return float(column) if inner.min() <= VALLEY * min(humps) else None


def lung_zones(lung: np.ndarray) -> dict[Zone, np.ndarray]:
    """Thirds of one lung's height on a frontal view; together they are the lung.

    A row belongs to the third that its centre lies in.
    """
    rows = np.flatnonzero(lung.any(axis=1))
    if not len(rows):
        return {zone: np.zeros_like(lung) for zone in ZONES}
    top, height = rows[0], rows[-1] + 1 - rows[0]
    third = np.floor(3 * (np.arange(lung.shape[0]) + 0.5 - top) / height)
    return {zone: lung & (third == n)[:, None] for n, zone in enumerate(ZONES)}


def zone_of(box_xyxy: BoxXyxy, lung_name: str, masks: Masks) -> Zone | None:
    """The zone of a lung that a lesion lies in, on a frontal view; None where there is no mask of the lung.

    A segmenter's own zones decide by which of them holds most of the box; otherwise, the third of the lung's height
    that the centre of the box lies in (a centre above or below the lung counts to the nearest third).

    Args:
        box_xyxy: the lesion's.
        lung_name: "left_lung", "right_lung" or "lungs".
        masks: (H, W) bool by name of the vocabulary.
    """
    side = lung_name.removesuffix("_lung")
    zones = {zone: masks[name] for zone in ZONE_OF_MASK if (name := f"{side}_{zone}_lung_zone") in masks}
    if len(zones) > 1:
        share = {zone: boxes.box_coverage(box_xyxy, mask) for zone, mask in zones.items()}
        best = max(share, key=lambda zone: share[zone])
        if share[best] > 0:
            return ZONE_OF_MASK[best]
    lung = masks.get(lung_name)
    if lung is None or not lung.any():
        return None
    _, top, _, bottom = boxes.box_from_mask(lung)
    third = int(3 * ((box_xyxy[1] + box_xyxy[3]) / 2 - top) / (bottom - top))
    return ZONES[min(max(third, 0), 2)]


def midline_x(masks: Masks) -> float | None:
    """Column of the patient's midline: the middle of the spine, else halfway between the inner edges of both lungs.

    None where neither is known. Columns count from the picture's left edge.
    """
    for name in ("spine", "spinal_cord", "sternum"):
        if (mask := masks.get(name)) is not None and mask.any():
            return float(np.median(np.nonzero(mask)[1])) + 0.5
    lungs = [np.flatnonzero(masks[name].any(axis=0)) for name in ("right_lung", "left_lung") if name in masks]
    if len(lungs) == 2 and all(map(len, lungs)):
        return (float(lungs[0][-1]) + 1 + float(lungs[1][0])) / 2
    return None


def side_of(lesion: np.ndarray, masks: Masks) -> Side | None:
    """Where a lesion lies with respect to the midline: "left", "right" or "midline"; None where there is no midline.

    For lesions whose organ lies in the middle or has no side of its own.

    Args:
        lesion: (H, W) bool, not empty.
        masks: organs of the picture, for :func:`midline_x`.
    """
    middle = midline_x(masks)
    if middle is None:
        return None
    left = float(np.mean(np.nonzero(lesion)[1] + 0.5 >= middle))
    return "left" if left > 1 - ON_MIDLINE else "right" if left < ON_MIDLINE else "midline"
