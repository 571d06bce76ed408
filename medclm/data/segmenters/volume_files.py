"""The segmenter ``masks:`` for label volumes that come with the data, laid on slices by their affines.

``masks:FILE`` (NIfTI, NRRD, MetaImage) is for every slice that lies in its space. ``masks:DIR`` has one file a volume,
``DIR/<name>.nii.gz`` (or another suffix) for the volume ``<name>``: the stem of a volume's file, or the name of a
series' folder.
"""

from __future__ import annotations

import posixpath
from functools import lru_cache

import numpy as np

from medclm import storage
from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.label_volume import LabelVolume, load_labels
from medclm.data.segmenters.volumetric import masks_of_slice
from medclm.data.volume_files import SUFFIXES


class VolumeFiles:
    """Organ masks of label volumes.

    Args:
        address: a file or a folder; any fsspec address.
        names: a list of :mod:`medclm.data.segmenters.labels`; "" where the files have label tables of their own.
    """

    name = "masks"

    def __init__(self, address: str, names: str = "") -> None:
        self.address = address
        self._load = lru_cache(maxsize=2)(lambda path: load_labels(path, names))

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`. A slice whose volume has no file has no organs.

        Raises:
            MedclmError: a file cannot be read, its labels are not known, or a picture does not say where it lies.
        """
        return [self._masks(image) for image in images]

    def _masks(self, image: SegmenterInput) -> dict[str, np.ndarray]:
        masks: dict[str, np.ndarray] = {}
        for volume in self._volumes(image):
            for organ, mask in masks_of_slice(volume, image).items():
                masks[organ] = masks[organ] | mask if organ in masks else mask
        return masks

    def _volumes(self, image: SegmenterInput) -> list[LabelVolume]:
        if self.address.lower().endswith(SUFFIXES):
            return self._load(self.address)
        path = _in_folder(self.address).get(volume_stem(image.source.volume or posixpath.dirname(image.source.uri)))
        return self._load(path) if path else []


@lru_cache(maxsize=16)
def _in_folder(folder: str) -> dict[str, str]:
    paths = storage.list_files(folder, "**/*")
    return {volume_stem(path): path for path in paths if path.lower().endswith(SUFFIXES)}


def volume_stem(address: str) -> str:
    """The name of a volume: a file's without ``.nii.gz`` and the like (`SUFFIXES`), or a folder's."""
    name = posixpath.basename(address.rstrip("/"))
    ending = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(ending)]
