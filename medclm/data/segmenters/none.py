"""No segmenter: rows hold the organs that the reader found, or none."""

from __future__ import annotations

import numpy as np

from medclm.data.segmenters import SegmenterInput
from medclm.errors import UsageError


class NoSegmenter:
    """Finds nothing."""

    name = "none"

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """An empty dict for each picture."""
        return [{} for _ in images]


def check(argument: str) -> None:
    """Raises UsageError where an argument is given."""
    if argument:
        raise UsageError("the segmenter `none` takes no argument", got=f"none:{argument}", remedy="write `none`")


def load(argument: str, device: str) -> NoSegmenter:
    """The segmenter; there is nothing to load."""
    check(argument)
    return NoSegmenter()
