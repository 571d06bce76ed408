"""An outline given as points, as a box and a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from medclm.data import boxes
from medclm.data.readers.base import Refused
from medclm.data.records import BoxXyxy


def outline(points: Any, size_hw: tuple[int, int]) -> tuple[BoxXyxy, str | None]:
    """The box around a polygon and its mask.

    Args:
        points: three or more (x, y) in pixels, origin at the outer corner of the first pixel.
        size_hw: of the picture.

    Returns:
        (box_xyxy, mask_rle): the box of the points themselves, so fractions stay; None for a polygon that holds no
        pixel. A part outside the picture is in the box, not in the mask.

    Raises:
        Refused: (bad-segmentation) it is no polygon.
    """
    try:
        xy = np.asarray(points, dtype=np.float64)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise ValueError("it must be pairs of x and y")
        mask = boxes.polygons_to_mask([xy.ravel().tolist()], size_hw)
    except (ValueError, TypeError) as error:
        raise Refused("bad-segmentation", f"the polygon cannot be read: {error}") from error
    (x1, y1), (x2, y2) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
    return (x1, y1, x2, y2), boxes.encode_rle(mask) if mask.any() else None
