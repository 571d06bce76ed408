"""The segmenter ``masks:`` for NIfTI and NRRD label volumes that come with the data, laid on slices by their affines.

``masks:FILE`` is for every slice that lies in its space. ``masks:DIR`` has one file a volume, ``DIR/<name>.nii.gz`` (or
``.nii``, ``.nrrd``) for the volume ``<name>``: the stem of a NIfTI or NRRD file, or the name of a series' folder.
"""

from __future__ import annotations

import posixpath
from functools import lru_cache

import numpy as np

from medclm import storage
from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.label_volume import SUFFIXES, LabelVolume, load_labels
from medclm.data.segmenters.volumetric import masks_of_slice
from medclm.errors import UsageError


class VolumeFiles:
    """Organ masks of label volumes.

    Args:
        address: a file or a folder, local.
        names: a list of :mod:`medclm.data.segmenters.labels`; "" where the files have label tables of their own.

    Raises:
        UsageError: the address is remote (nibabel maps files of a disk).
    """

    name = "masks"

    def __init__(self, address: str, names: str = "") -> None:
        if not storage.is_local(address):
            raise UsageError("label volumes are read from a local disk", got=address, remedy="copy them first")
        self.path, self.names = storage.open_fs(address)[1], names
        self._load = lru_cache(maxsize=2)(lambda path: load_labels(path, names))

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`. A slice whose volume has no file has no organs.

        Raises:
            MedclmError: a file cannot be read, its labels are not known, or a picture does not say where it lies.
        """
        volumes = [self._volume(image) for image in images]
        return [masks_of_slice(v, image) if v else {} for v, image in zip(volumes, images, strict=True)]

    def _volume(self, image: SegmenterInput) -> LabelVolume | None:
        if self.path.endswith(SUFFIXES):
            return self._load(self.path)
        path = _in_folder(self.path).get(volume_stem(image.source.volume or posixpath.dirname(image.source.uri)))
        return self._load(path) if path else None


@lru_cache(maxsize=16)
def _in_folder(folder: str) -> dict[str, str]:
    paths = storage.list_files(folder, "**/*")
    return {volume_stem(path): path for path in paths if path.endswith(SUFFIXES)}


def volume_stem(address: str) -> str:
    """The name of a volume: a file's without ``.nii.gz`` and the like, or a folder's."""
    name = posixpath.basename(address.rstrip("/"))
    return next((name.removesuffix(suffix) for suffix in (".nii.gz", ".nii", ".nrrd") if name.endswith(suffix)), name)
