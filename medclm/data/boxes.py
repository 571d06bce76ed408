"""Geometry of boxes and masks, and the run-length code of masks.

A box is ``(x1, y1, x2, y2)`` in pixels: x to the right, y down, origin at the outer corner of the first pixel, x2 and
y2 exclusive. Pixel (row r, column c) covers the square from (c, r) to (c + 1, r + 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medclm.data.records import BoxXyxy


def box_from_xywh(box_xywh: Sequence[float]) -> BoxXyxy:
    """COCO's ``[x, y, width, height]`` as xyxy."""
    x, y, width, height = (float(v) for v in box_xywh)
    return x, y, x + width, y + height


def xywh_from_box(box_xyxy: BoxXyxy) -> tuple[float, float, float, float]:
    """The inverse of :func:`box_from_xywh`."""
    x1, y1, x2, y2 = box_xyxy
    return x1, y1, x2 - x1, y2 - y1


Boxes = np.ndarray | Sequence[float] | Sequence[BoxXyxy]
"""One box or several: (4,) or (N, 4)."""


def area(boxes_xyxy: Boxes) -> np.ndarray:
    """Areas of (..., 4) boxes in square pixels; 0 for an empty box."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    return np.clip(boxes[..., 2] - boxes[..., 0], 0, None) * np.clip(boxes[..., 3] - boxes[..., 1], 0, None)


def clip_box(box_xyxy: BoxXyxy, size_hw: tuple[int, int]) -> BoxXyxy:
    """The part of the box inside a picture of ``size_hw``; it may be empty."""
    height, width = size_hw
    x1, y1, x2, y2 = box_xyxy
    return (
        float(min(max(x1, 0), width)),
        float(min(max(y1, 0), height)),
        float(min(max(x2, 0), width)),
        float(min(max(y2, 0), height)),
    )


def iou_xyxy(boxes_a: Boxes, boxes_b: Boxes) -> np.ndarray:
    """Intersection over union of every pair.

    Args:
        boxes_a: (N, 4), or one box; boxes_b: (M, 4), or one box.

    Returns:
        (N, M) float64 in 0 to 1; 0 where both boxes are empty.
    """
    a = np.asarray(boxes_a, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(boxes_b, dtype=np.float64).reshape(1, -1, 4)
    corners = np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], axis=-1)
    shared = area(corners)
    union = area(a) + area(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def box_coverage(box_xyxy: BoxXyxy, mask: np.ndarray) -> float:
    """Share of the box that the mask covers: area(box and mask) / area(box), METHOD section 1.

    Box edges between pixel borders count exactly: a pixel weighs as much as the box covers of it.

    Args:
        box_xyxy: a box with an area; the part outside the picture counts as not covered.
        mask: (H, W) bool.
    """
    x1, y1, x2, y2 = box_xyxy
    rows, row_weights = _pixel_weights(y1, y2, mask.shape[0])
    cols, col_weights = _pixel_weights(x1, x2, mask.shape[1])
    covered = row_weights @ mask[rows, cols].astype(np.float64) @ col_weights
    return float(min(covered / ((x2 - x1) * (y2 - y1)), 1.0))


def _pixel_weights(low: float, high: float, size: int) -> tuple[slice, np.ndarray]:
    """The pixels of an axis that [low, high] touches, and the share of each that it covers."""
    start, stop = int(np.clip(np.floor(low), 0, size)), int(np.clip(np.ceil(high), 0, size))
    edges = np.arange(start, max(stop, start) + 1)
    weights = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, 1)
    return slice(start, max(stop, start)), weights


def mask_coverage(lesion: np.ndarray, organ: np.ndarray) -> float:
    """Share of the lesion mask that the organ mask covers; both (H, W) bool. 0 for an empty lesion."""
    total = int(np.count_nonzero(lesion))
    return float(np.count_nonzero(lesion & organ) / total) if total else 0.0


def box_from_mask(mask: np.ndarray) -> BoxXyxy:
    """The smallest box around the true pixels of an (H, W) mask.

    Raises:
        ValueError: the mask is empty.
    """
    window = bounds(mask)
    if window is None:
        raise ValueError("an empty mask has no box")
    rows, cols = window
    return float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)


def bounds(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest window around the true pixels of an (H, W) bool mask; None for an empty one."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    cols = np.flatnonzero(mask[top:bottom].any(axis=0))
    return slice(top, bottom), slice(int(cols[0]), int(cols[-1]) + 1)


def encode_rle(mask: np.ndarray) -> str:
    """(H, W) mask as the compressed ``counts`` string of pycocotools."""
    from pycocotools import mask as coco_mask

    columns = np.zeros(mask.shape, np.uint8, order="F")
    if (window := bounds(mask)) is not None:
        columns[window] = mask[window]  # turning column-major costs most, and most organs fill a part of the picture
    return coco_mask.encode(columns)["counts"].decode("ascii")


def decode_rle(counts: str, size_hw: tuple[int, int]) -> np.ndarray:
    """The inverse of :func:`encode_rle`: (H, W) bool.

    Raises:
        ValueError: the runs do not fill a picture of ``size_hw`` exactly, or the string is no run-length code.
    """
    from pycocotools import mask as coco_mask

    if _pixels_of_rle(counts) != size_hw[0] * size_hw[1]:
        raise ValueError(f"the run-length code does not describe a mask of {size_hw[1]} x {size_hw[0]} pixels")
    return coco_mask.decode({"size": list(size_hw), "counts": counts.encode("ascii")}).astype(bool)


def _pixels_of_rle(counts: str) -> int:
    """Sum of the runs: characters 48 to 111 carry 5 bits each, low first; a run is a difference to the one two before.

    pycocotools does not check the sum and writes past its buffer where it is too large, hence this check.
    """
    digits = np.frombuffer(counts.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if ((digits < 0) | (digits > 63)).any():
        raise ValueError("a character is not of a run-length code")
    last = (digits & 32) == 0  # of a number
    if not len(digits) or not last[-1]:
        raise ValueError("the run-length code is empty or cut off")
    starts = np.flatnonzero(np.r_[True, last[:-1]])
    shift = 5 * (np.arange(len(digits)) - np.repeat(starts, np.diff(np.r_[starts, len(digits)])))
    if shift.max() > 30:
        raise ValueError("the run-length code has a run longer than any picture")
    runs = np.add.reduceat((digits & 31) << shift, starts)
    negative = (digits[last] & 16) != 0
    runs[negative] -= np.int64(1) << (shift[last][negative] + 5)
    for chain in (runs[1::2], runs[2::2]):  # the first three runs are themselves, later ones differences
        np.cumsum(chain, out=chain)
    if (runs < 0).any():
        raise ValueError("the run-length code has a negative run")
    return int(runs.sum())


def rle_from_counts(counts: Sequence[int], size_hw: tuple[int, int]) -> str:
    """COCO's uncompressed run list (column-major, zeros first) as a compressed string.

    Raises:
        ValueError: the runs do not fill a picture of ``size_hw`` exactly.
    """
    from pycocotools import mask as coco_mask

    runs = [int(v) for v in counts]
    if any(run < 0 for run in runs) or sum(runs) != size_hw[0] * size_hw[1]:
        raise ValueError(f"{sum(runs)} pixels in the runs, {size_hw[0] * size_hw[1]} in the picture")
    rle = coco_mask.frPyObjects({"size": list(size_hw), "counts": runs}, *size_hw)
    return rle["counts"].decode("ascii")


def polygons_to_mask(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> np.ndarray:
    """The union of COCO polygons ``[x1, y1, x2, y2, …]`` as (H, W) bool, rasterised as pycocotools does.

    Raises:
        ValueError: a polygon has fewer than three points, an odd number of coordinates, or one that is not finite.
    """
    from pycocotools import mask as coco_mask

    checked = []
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise ValueError(f"a polygon needs three or more finite x, y pairs, got {len(polygon)} numbers")
        limits = np.tile(np.array(size_hw[::-1], dtype=np.float64), len(points) // 2)
        checked.append(np.clip(points, 0, limits).tolist())
    merged = coco_mask.merge(coco_mask.frPyObjects(checked, *size_hw))
    return coco_mask.decode(merged).astype(bool)
