"""Linking: which organ holds a lesion, on which side and in which zone, and how the lesion looks against that organ.

The host is the deepest admissible organ that covers enough of the lesion (METHOD section 1). The published rule, arg
max IoU between the lesion's box and the organ's *bounding box*, is kept as ``iou-argmax`` for the ablation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from medclm.data import anatomy, boxes, derive
from medclm.data.records import UNCLEAR, BoxXyxy, Finding, Organ, Side, Spacing, Zone

SHARED = 0.35
"""A lesion is shared by two siblings when each of them covers at least this much of it."""

Masks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Scene:
    """What linking needs of one image.

    Attributes:
        values: (height, width) float32, modality units, bright is high (an inverted radiograph is turned round).
        organs: (height, width) bool masks by organ name, parents included (:func:`with_parents`).
        spacing_mm: pixel spacing, or None when it is unknown.
        is_frontal: whether image rows run from head to foot, so that zones mean something.
        shows_sides: whether the picture shows left and right apart (:data:`medclm.data.derive.SIDED_PLANES`).
        min_coverage: the least coverage that makes a host, 0 to 1.
        method: "coverage" or "iou-argmax".
    """

    values: np.ndarray
    organs: Masks
    spacing_mm: Spacing | None
    is_frontal: bool
    min_coverage: float = 0.5
    method: str = "coverage"
    shows_sides: bool = False


def with_parents(masks: Masks) -> Masks:
    """``masks`` with the parents that nobody segmented, each the union of its parts. Regions are never made up."""
    result = dict(masks)
    for name in sorted(masks, key=lambda n: -len(anatomy.organ_path(n))):
        for ancestor in reversed(anatomy.organ_path(name)[:-1]):
            if ancestor in masks or anatomy.organs()[ancestor].is_region:
                continue
            part = masks[name]
            result[ancestor] = result[ancestor] | part if ancestor in result else part
    return result


def organ_entries(masks: Masks, source: str) -> tuple[Organ, ...]:
    """The organs of a record, in the order of their names. ``masks`` are (height, width) bool."""
    return tuple(
        Organ(
            name=name,
            side=anatomy.organs()[name].side,  # type: ignore[arg-type]
            box_xyxy=boxes.box_from_mask(mask),
            area_px=int(np.count_nonzero(mask)),
            rle=boxes.encode_rle(mask),
            source=source,
        )
        for name, mask in sorted(masks.items())
        if mask.any()
    )


def link(finding: Finding, scene: Scene) -> Finding:
    """``finding`` with organ, organ_path, side, zone, coverage, size_mm and measured attributes filled in.

    A finding that no admissible organ covers by ``min_coverage`` gets organ "unclear" and no side.
    """
    lesion = lesion_mask(finding, scene.values.shape[:2])
    if scene.method == "iou-argmax":
        organ, coverage = _iou_argmax(finding.box_xyxy, lesion, scene.organs)
    else:
        organ, coverage = _by_coverage(finding.label, lesion, scene)
    path = anatomy.organ_path(organ) if organ != UNCLEAR else ()
    return finding.model_copy(
        update={
            "organ": organ,
            "organ_path": path,
            "side": _side(lesion, organ, scene) if path else None,
            "zone": _zone(finding.box_xyxy, path, scene),
            "coverage": round(coverage, 6),
            "size_mm": size_mm(finding, lesion, scene.spacing_mm),
            "attributes": {**_appearance(lesion, scene, organ), **finding.attributes},
        }
    )


def lesion_mask(finding: Finding, size_hw: tuple[int, int]) -> np.ndarray:
    """The lesion as (height, width) bool: its own mask where there is one, else its box rounded outwards to pixels."""
    if finding.mask_rle:
        mask = boxes.decode_rle(finding.mask_rle, size_hw)
        if mask.any():
            return mask
    mask = np.zeros(size_hw, bool)
    x1, y1, x2, y2 = finding.box_xyxy
    mask[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = True
    return mask


def _by_coverage(label: str, lesion: np.ndarray, scene: Scene) -> tuple[str, float]:
    """From the outermost admissible organ that passes, down as long as one part passes and no other shares it."""
    window = boxes.bounds(lesion)
    cover = {
        name: boxes.mask_coverage(lesion[window], mask[window])
        for name, mask in scene.organs.items()
        if anatomy.is_admissible(label, name) and anatomy.organs()[name].is_host
    }
    passing = {name for name, share in cover.items() if share >= scene.min_coverage}

    def best_of(names: Iterable[str]) -> str:
        return max(names, key=lambda name: (cover[name], name))

    roots = [name for name in passing if anatomy.organs()[name].parent not in passing]
    if not roots:
        return UNCLEAR, max(cover.values(), default=0.0)
    host = best_of(roots)
    while parts := [name for name in cover if anatomy.organs()[name].parent == host]:
        part = best_of(parts)
        if part not in passing or any(cover[other] >= SHARED for other in parts if other != part):
            break
        host = part
    return host, cover[host]


def _iou_argmax(box: BoxXyxy, lesion: np.ndarray, masks: Masks) -> tuple[str, float]:
    """The published rule: arg max IoU(lesion box, organ bounding box), every organ, no minimum."""
    present = {name: mask for name, mask in masks.items() if mask.any()}
    if not present:
        return UNCLEAR, 0.0
    iou = {name: float(boxes.iou_xyxy([box], [boxes.box_from_mask(mask)])[0, 0]) for name, mask in present.items()}
    best = max(sorted(iou), key=lambda name: iou[name])
    if iou[best] == 0:
        return UNCLEAR, 0.0
    return best, boxes.mask_coverage(lesion, masks[best])


def _side(lesion: np.ndarray, organ: str, scene: Scene) -> Side | None:
    """The organ's own side; in an organ of the midline, or of no side, where the lesion lies, if the picture tells."""
    side = anatomy.organs()[organ].side
    if side in (None, "midline") and scene.shows_sides:
        return derive.side_of(lesion, scene.organs) or side  # type: ignore[return-value]
    return side  # type: ignore[return-value]


def _zone(box: BoxXyxy, path: tuple[str, ...], scene: Scene) -> Zone | None:
    """The zone of the host lung that holds the lesion. Frontal views only."""
    lung = next((name for name in reversed(path) if name in ("left_lung", "right_lung", "lungs")), None)
    return derive.zone_of(box, lung, scene.organs) if scene.is_frontal and lung else None


def size_mm(finding: Finding, lesion: np.ndarray, spacing_mm: Spacing | None) -> float | None:
    """Longest in-plane diameter, edge to edge: of the mask where there is one, else the box's longer side."""
    if spacing_mm is None:
        return None
    if not finding.mask_rle:
        x1, y1, x2, y2 = finding.box_xyxy
        return round(max((x2 - x1) * spacing_mm.col, (y2 - y1) * spacing_mm.row), 2)
    rows, cols = _pixels(lesion)
    points = np.stack([rows * spacing_mm.row, cols * spacing_mm.col], axis=1)
    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:  # fewer than three pixels, or all in a line: the ends are the extremes along that line
        order = np.lexsort(points.T)
        points = points[order[[0, -1]]]
    pixel = (spacing_mm.row + spacing_mm.col) / 2
    return round(float(pdist(points).max(initial=0.0)) + pixel, 2)


def _appearance(lesion: np.ndarray, scene: Scene, organ: str) -> dict[str, str]:
    """Measured look of the lesion against its host: ``contrast``, ``share_of_organ``, ``shape`` (and ``mean_value``).

    contrast: brighter / darker where the means differ by more than half a standard deviation of the host's pixels
    outside the lesion, else similar. shape: round, oval or elongated by the ratio of the principal axes (>= 0.8, 0.5).
    """
    at = boxes.bounds(lesion)
    mean = scene.values[at][lesion[at]].mean()
    found = {"shape": _shape(lesion), "mean_value": f"{mean:.0f}"}
    host = scene.organs.get(organ)
    if host is not None:
        window = boxes.bounds(host)
        around = scene.values[window][host[window] & ~lesion[window]]
        if around.size:
            difference = mean - around.mean()
            spread = 0.5 * around.std()
            found["contrast"] = "brighter" if difference > spread else "darker" if difference < -spread else "similar"
        share = 100 * np.count_nonzero(lesion & host) / np.count_nonzero(host)
        found["share_of_organ"] = f"{share:.0f} %" if share >= 1 else "under 1 %"
    return found


def _shape(lesion: np.ndarray) -> str:
    rows, cols = _pixels(lesion)
    if len(rows) < 3:
        return "round"
    small, large = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(rows, cols)), 1 / 12))
    ratio = small / large
    return "round" if ratio >= 0.8 else "oval" if ratio >= 0.5 else "elongated"


def _pixels(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the true pixels; np.nonzero of the part that holds them."""
    window = boxes.bounds(mask)
    if window is None:
        return np.zeros(0, int), np.zeros(0, int)
    rows, cols = np.nonzero(mask[window])
    return rows + window[0].start, cols + window[1].start
