"""The segmenter ``masks``: organ masks that come with the data.

PNG files of the stored pictures' size are read here: ``DIR/<image id>/<organ>.png``, 0 or 255 (above 127 is organ).
Organ names are those of the vocabulary or any synonym of it (``lung_lower_lobe_left.png`` of TotalSegmentator).
``masks:DIR#ORGAN`` reads ``DIR/<image id>.png`` instead, a mask of ORGAN. Parents are not put together.
"""

from __future__ import annotations

import posixpath

import numpy as np

from medclm import storage
from medclm.data import anatomy
from medclm.data.images import decode_png
from medclm.data.segmenters import Segmenter, SegmenterInput
from medclm.data.volume_files import SUFFIXES
from medclm.errors import MedclmError, UsageError

THRESHOLD = 127
LOOKED_AT = 100
"""Files of a folder that decide what it holds."""


def open_masks(address: str) -> Segmenter:
    """The segmenter for what lies at ``address``: PNG folders, DICOM objects, or label volumes, by what the files are.

    Args:
        address: a file or folder, and ``#`` with the organ of single PNG masks or the list of labels of volumes.

    Raises:
        UsageError: nothing is there.
    """
    place, _, names = address.partition("#")
    fs, root = storage.open_fs(place)
    if fs.isdir(root):
        kinds = {_kind(path) for path in fs.find(root)[:LOOKED_AT]}
    elif fs.isfile(root):
        kinds = {_kind(root) or "dicom"}
    else:
        raise UsageError(
            "there is no such mask folder", where=place, expected="DIR/<image id>/<organ>.png, or another of "
            "`masks:DIR`, `masks:DIR#ORGAN`, `masks:FILE_OR_DIR`", got="nothing",
        )  # fmt: skip
    if "volume" in kinds:
        from medclm.data.segmenters.volume_files import VolumeFiles

        return VolumeFiles(place, names)
    if "png" in kinds or not kinds:
        return MaskFiles(address)
    from medclm.data.segmenters.dicom_masks import DicomMasks

    return DicomMasks(place)


def _kind(path: str) -> str:
    """ "volume", "png", or "" for what only its content tells."""
    if path.lower().endswith(SUFFIXES):
        return "volume"
    return "png" if path.endswith(".png") else ""


class MaskFiles:
    """Reads the masks of each image when it is asked for them."""

    name = "masks"

    def __init__(self, folder: str) -> None:
        """``folder``: any fsspec address, and ``#ORGAN`` where each image has one mask of that organ.

        Raises:
            UsageError: there is no such folder or organ.
        """
        folder, _, organ = folder.partition("#")
        self.fs, self.root = storage.open_fs(folder)
        self.organ = anatomy.organ_name(organ)
        if organ and self.organ is None:
            raise UsageError("there is no such organ", got=organ, expected="a name or synonym of the vocabulary")
        if not self.fs.isdir(self.root):
            raise UsageError(
                "there is no such mask folder", where=folder, expected="DIR/<image id>/<organ>.png", got="no folder"
            )

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`. An image without a folder of its own has no organs.

        Raises:
            MedclmError: a mask has another size than its picture, is no PNG, or is named after no known organ.
        """
        return [self._of_image(image) for image in images]

    def _of_image(self, image: SegmenterInput) -> dict[str, np.ndarray]:
        folder = posixpath.join(self.root, image.image_id)
        if self.organ:
            path = f"{folder}.png"
            mask = self._read(path, image) if self.fs.isfile(path) else np.zeros(0, bool)
            return {self.organ: mask} if mask.any() else {}
        if not self.fs.isdir(folder):
            return {}
        paths = sorted(path for path in self.fs.ls(folder, detail=False) if path.endswith(".png"))
        masks: dict[str, np.ndarray] = {}
        for path, organ in zip(paths, _organ_names(folder, paths), strict=True):
            mask = self._read(path, image)
            if mask.any():
                masks[organ] = masks[organ] | mask if organ in masks else mask
        return masks

    def _read(self, path: str, image: SegmenterInput) -> np.ndarray:
        pixels = image.display.apply(decode_png(self.fs.cat_file(path), path))
        size_hw = image.shown.shape[:2]
        if pixels.shape != size_hw:
            raise MedclmError(
                "a mask does not fit its picture",
                where=path,
                expected=f"{size_hw[1]} x {size_hw[0]} pixels, one channel",
                got=" x ".join(str(n) for n in (pixels.shape[1], pixels.shape[0], *pixels.shape[2:])),
                remedy="write the masks at the size of the stored picture",
            )
        return pixels > THRESHOLD


def _organ_names(folder: str, paths: list[str]) -> list[str]:
    """Vocabulary names of the files; every unknown one is listed, because a misspelt organ would be lost in silence."""
    stems = [posixpath.splitext(posixpath.basename(path))[0] for path in paths]
    unknown = [stem for stem in stems if anatomy.organ_name(stem) is None]
    if unknown:
        raise MedclmError(
            "mask files are named after no known organ",
            where=folder,
            expected="names or synonyms of medclm/data/organs.yaml",
            got=", ".join(unknown),
            remedy="rename the files, or move them out of the mask folder",
        )
    return [anatomy.organ_name(stem) or stem for stem in stems]
