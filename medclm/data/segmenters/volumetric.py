"""Segmenters that see the whole volume: it is segmented once, and each slice gets its part of the labels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.label_volume import LabelVolume, points_of
from medclm.errors import MedclmError

KEPT = 2
"""Label volumes that stay in memory: slices come in order, so the one before the last is seldom asked for again."""


class VolumeSegmenter:
    """Hands out the slices of label volumes. A volume that failed once fails for all of its slices, at no further cost.

    Args:
        name: see :class:`medclm.data.segmenters.Segmenter`.
        segment: makes the labels of ``Source.volume``; called once for each volume in a row.
    """

    def __init__(self, name: str, segment: Callable[[SegmenterInput], LabelVolume]) -> None:
        self.name, self._segment = name, segment
        self._kept: OrderedDict[str, LabelVolume] = OrderedDict()
        self._failed: dict[str, Exception] = {}

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`.

        Raises:
            MedclmError: a picture belongs to no volume, or its file does not say where it lies.
        """
        return [masks_of_slice(self._volume(image), image) for image in images]

    def _volume(self, image: SegmenterInput) -> LabelVolume:
        key = image.source.volume
        if not key:
            raise MedclmError(
                f"{self.name} needs volumes",
                where=image.source.uri,
                expected="a slice of a NIfTI or NRRD file, or of a DICOM series that lies alone in its folder",
                got="a picture that stands alone",
                remedy="use a segmenter for pictures, or put each series into a folder of its own",
            )
        if key in self._failed:
            raise self._failed[key]
        if key not in self._kept:
            try:
                self._kept[key] = self._segment(image)
            except (MedclmError, MemoryError, RuntimeError) as error:
                self._failed[key] = error
                raise
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def masks_of_slice(volume: LabelVolume, image: SegmenterInput) -> dict[str, np.ndarray]:
    """Organs of one picture, in display orientation.

    Raises:
        MedclmError: the picture's file does not say where it lies.
    """
    height, width = image.shown.shape[:2]
    stored_hw = (width, height) if image.display.transpose else (height, width)
    masks = volume.masks_at(points_of(image.source, stored_hw))
    return {organ: np.ascontiguousarray(image.display.apply(mask)) for organ, mask in masks.items()}
