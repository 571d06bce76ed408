"""Lines of text burned into a picture: names, dates and numbers that a scanner or a digitiser drew over the pixels.

No character is read. A glyph is a connected stroke that rises sharply over its local ground and is nearly white (or,
on a light ground, nearly black); a line of text is a row of glyphs of like size and grey value that share a baseline
and a cap line and stand at regular distances. Anatomy shows bright strokes too, but hardly ever so in a row.

Measured (tests/data/test_overlay_text.py repeats it on fewer pictures; the thresholds were chosen on these pictures
too, except where it says "fresh"):

* false alarms: 0 of the 67 radiographs of ``cxr-lung-masks-ccby83`` without a line of text; 0 of 200 phantoms of 128
  to 512 px and 0 of 90 fresh ones; 2 of 550 renderings of files of pydicom, highdicom, dcmqi, the TotalSegmentator CT
  and LIDC-IDRI-0001 (CT as "auto", "lung" and "bone"), both of one noisy CT of the liver (dcmqi);
* real text found: 14 of the 16 radiographs of that folder that show a line ("Bettaufnahme", "liegend"; the picture's
  edge cuts the two others), the 3 ultrasound pictures of pydicom, 296 of the 314 pictures of VQA-RAD, which carry a
  watermark and often the uploader's name (35 of them were looked at, all did);
* drawn names, dates and numbers found: 96 % of 480 fresh ones on those radiographs, six fonts of 8 to 32 px, white or
  grey on black, on tissue at least 50 darker, or black on white, with and without a shadow, half of them as JPEG of
  quality 85. By font size: 80 % at 8 px (capitals of 6 px), 95 % at 10, 97 % at 12, 98 to 100 % from 16;
* time on one core: 8 to 12 ms for a radiograph of 512 x 512, 27 to 31 ms for 2048 x 2048; 43 ms for 512 x 512 of noise.

Not found: slanted and upright lines, handwriting, joined scripts, outlined or coloured text of middle grey, characters
higher than 48 px or with strokes wider than 8 px, and, where a picture is reduced, text that falls below 8 px.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from medclm.data.records import BoxXyxy

MIN_CHARACTERS = 5
"""Fewer characters are a side marker ("L", "R", "pa"), not a name or a number."""

SMALL_PX, MIN_CHARACTERS_SMALL = 200, 8
"""In a picture with a side shorter than this a row of few small marks is mostly chance: a line needs more of them."""

MAX_SIDE = 1024
"""Larger pictures are averaged down by a whole number until their longer side is at most this, in pixels."""

WINDOW = 9
"""Side in pixels of the square that tells a stroke from its ground; strokes are narrower."""

MIN_RISE = 35
"""Grey values by which a stroke differs from its ground."""

LEVELS = (3, 4, 5)
"""Where strokes are cut off their ground, in eighths of the local contrast: low keeps thin strokes whole, high parts
characters that touch."""

EXTREME = 195
"""The grey value that the brightest glyph of a line reaches (255 minus it for the darkest of a dark line)."""

MIN_GLYPHS = 4
GLYPH_HEIGHT = (4, 48)

Pick = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Glyphs:
    """Connected strokes: outer boxes in pixels, x2 and y2 exclusive, and the grey value furthest from the ground."""

    x1: np.ndarray
    y1: np.ndarray
    x2: np.ndarray
    y2: np.ndarray
    peak: np.ndarray

    def __len__(self) -> int:
        return len(self.x1)

    def take(self, chosen: np.ndarray) -> Glyphs:
        return Glyphs(*(getattr(self, part.name)[chosen] for part in dataclasses.fields(self)))


def text_lines(shown: np.ndarray) -> list[BoxXyxy]:
    """Boxes of the lines of text of at least :data:`MIN_CHARACTERS` characters (small pictures: more), from the top.

    Args:
        shown: (H, W) or (H, W, 3) uint8, as displayed. Of a colour picture the brightest channel counts.

    Returns:
        Boxes in pixels of ``shown``, x2 and y2 exclusive. A line with wide gaps may come as several boxes, and a glyph
        that touches its neighbours may be missing from an end: to cover a text, widen the box.
    """
    grey = shown if shown.ndim == 2 else shown.max(axis=2)
    step = max(1, -(-max(grey.shape) // MAX_SIDE))
    least = MIN_CHARACTERS if min(grey.shape) >= SMALL_PX else MIN_CHARACTERS_SMALL
    boxes: list[BoxXyxy] = []
    for mask, values in _strokes(_reduced(grey, step)):
        for line in _rows(_glyphs(mask, values)):
            if _is_text(line, least):
                x1, y1, x2, y2 = line.x1.min(), line.y1.min(), line.x2.max(), line.y2.max()
                boxes = _joined(boxes, (float(x1 * step), float(y1 * step), float(x2 * step), float(y2 * step)))
    return sorted(boxes, key=lambda box: (box[1], box[0]))


def _reduced(grey: np.ndarray, step: int) -> np.ndarray:
    """Means of blocks of ``step`` x ``step`` pixels; a rest at the right and at the bottom is left out."""
    if step == 1:
        return grey
    height, width = (side - side % step for side in grey.shape)
    total = np.zeros((height // step, width // step), np.uint32)
    for row in range(step):
        for column in range(step):
            total += grey[row:height:step, column:width:step]
    return (total // step**2).astype(np.uint8)


def _strokes(grey: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks of thin bright strokes, then of thin dark ones, each with the values in which a stroke is bright.

    The ground is the grey-scale opening of the picture: what is left when everything narrower than the window is gone.
    A mask in which no pixel is :data:`EXTREME` holds no line of text, and is left out.
    """
    low, high = _extreme(grey, np.minimum), _extreme(grey, np.maximum)
    bright = (grey, _extreme(low, np.maximum), high)
    dark = (~grey, ~_extreme(high, np.minimum), ~low)
    for values, ground, top in (bright, dark):
        rise, eighth, extreme = values - ground, (top - ground) // 8, values >= EXTREME
        for level in LEVELS:
            mask = rise > np.maximum(eighth * level, MIN_RISE)
            if (mask & extreme).any():
                yield mask, values


def _extreme(grey: np.ndarray, pick: Pick) -> np.ndarray:
    """Minimum or maximum over the window around each pixel; by doubling, 10 times as fast as scipy.ndimage on uint8."""
    for _ in range(2):
        run, length = np.pad(grey, ((WINDOW // 2, WINDOW // 2), (0, 0)), mode="edge"), 1
        while length < WINDOW:
            shift = min(length, WINDOW - length)
            run, length = pick(run[:-shift], run[shift:]), length + shift
        grey = run.T
    return np.ascontiguousarray(grey)


def _glyphs(mask: np.ndarray, values: np.ndarray) -> Glyphs:
    """The strokes that have the size and the fill of characters."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3), int))
    pixels = np.flatnonzero(mask)
    rows, columns = np.divmod(pixels, mask.shape[1])
    of = labels.ravel()[pixels] - 1

    def reduce(ufunc: np.ufunc, each: np.ndarray, start: int) -> np.ndarray:
        out = np.full(count, start, each.dtype)
        ufunc.at(out, of, each)
        return out

    x1, y1 = (reduce(np.minimum, axis, max(mask.shape)) for axis in (columns, rows))
    x2, y2 = (reduce(np.maximum, axis, 0) + 1 for axis in (columns, rows))
    peak = reduce(np.maximum, values.ravel()[pixels].astype(int), 0)
    height, width = y2 - y1, x2 - x1
    sized = (height >= GLYPH_HEIGHT[0]) & (height <= GLYPH_HEIGHT[1]) & (width <= 3 * height) & (8 * width >= height)
    filled = np.bincount(of, minlength=count) >= 0.15 * width * height
    return Glyphs(x1, y1, x2, y2, peak).take(sized & filled & (peak >= EXTREME - 75))


def _rows(glyphs: Glyphs) -> Iterator[Glyphs]:
    """Chains of neighbours of like size and grey value that share their tops or their bottoms."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(glyphs) < MIN_GLYPHS:
        return
    slack = max(1, int(0.08 * GLYPH_HEIGHT[1]))
    pairs = [_level(edge, slack) for edge in (glyphs.y1, glyphs.y2)]
    one, two = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    a, b = glyphs.take(one), glyphs.take(two)
    tall, small = np.maximum(a.y2 - a.y1, b.y2 - b.y1), np.minimum(a.y2 - a.y1, b.y2 - b.y1)
    gap = np.maximum(a.x1, b.x1) - np.minimum(a.x2, b.x2)
    level = np.minimum(abs(a.y1 - b.y1), abs(a.y2 - b.y2)) <= np.maximum(1, 0.08 * tall)
    near = level & (tall <= 2.2 * small) & (gap <= 1.6 * tall) & (gap >= -0.3 * small) & (abs(a.peak - b.peak) <= 50)
    if near.sum() < MIN_GLYPHS - 1:  # too few links for a chain
        return
    graph = coo_array((np.ones(near.sum(), bool), (one[near], two[near])), shape=(len(glyphs), len(glyphs)))
    _, of = connected_components(graph, directed=False)
    for chain in np.flatnonzero(np.bincount(of) >= MIN_GLYPHS):
        yield glyphs.take(of == chain)


def _level(edge: np.ndarray, slack: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all pairs whose edges differ by at most ``slack``; linear in their number, also in a noisy picture."""
    order = np.argsort(edge, kind="stable")
    ahead = np.searchsorted(edge[order], edge[order] + slack, side="right") - np.arange(len(edge)) - 1
    first = np.repeat(np.arange(len(edge)), ahead)
    nth = np.arange(ahead.sum()) - np.repeat(np.cumsum(ahead) - ahead, ahead)
    return order[first], order[first + 1 + nth]


def _is_text(line: Glyphs, least: int) -> bool:
    """Whether a chain has enough characters, straight edges, regular distances and one grey value near the extreme."""
    height, width = line.y2 - line.y1, line.x2 - line.x1
    cap = float(np.quantile(height, 0.8))
    slack = max(1.0, 0.06 * cap)
    order = np.argsort(line.x1, kind="stable")
    gaps = line.x1[order][1:] - line.x2[order][:-1]
    high = height >= 0.85 * cap
    characters = np.maximum(1, np.round(width / (0.8 * cap))).sum()
    return bool(
        characters >= least
        and _aligned(line.y2, slack) >= (0.7 if len(line) >= 6 else 0.8)
        and _aligned(line.y1[high], slack) >= 0.6
        and high.mean() >= 0.35
        and np.median(width / height) <= 1.1
        and -0.1 * cap <= np.median(gaps) <= 0.45 * cap
        and line.peak.std() <= 20
        and line.peak.max() >= EXTREME
    )


def _aligned(edge: np.ndarray, slack: float) -> float:
    """The largest share of edges that lie within ``slack`` of one of them."""
    edge = np.sort(edge)
    inside = np.searchsorted(edge, edge + slack, side="right") - np.searchsorted(edge, edge - slack, side="left")
    return float(inside.max() / len(edge))


def _joined(boxes: list[BoxXyxy], new: BoxXyxy) -> list[BoxXyxy]:
    """The boxes with ``new`` among them, boxes that overlap it merged into it: one line is found at several levels."""
    apart = []
    for box in boxes:
        if new[0] < box[2] and box[0] < new[2] and new[1] < box[3] and box[1] < new[3]:
            new = (min(new[0], box[0]), min(new[1], box[1]), max(new[2], box[2]), max(new[3], box[3]))
        else:
            apart.append(box)
    return [*apart, new]
