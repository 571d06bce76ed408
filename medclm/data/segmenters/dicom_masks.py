"""The segmenter ``masks:`` for DICOM objects: organs of SEG and RTSTRUCT files that come with the images.

An object belongs to a picture when both share the series that the object refers to, or the frame of reference. What
an object says of one folder of images is read once and kept as run lengths.
"""

from __future__ import annotations

import io
import posixpath
from functools import cached_property
from typing import Any

import numpy as np

from medclm import storage
from medclm.data import boxes
from medclm.data.readers.base import ReadResult
from medclm.data.segmenters import SegmenterInput
from medclm.errors import UsageError

HEADER = ["Modality", "FrameOfReferenceUID", "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"]
IMAGE_HEADER = ["SeriesInstanceUID", "FrameOfReferenceUID"]
KINDS = ("SEG", "RTSTRUCT")


class DicomMasks:
    """Organ masks of DICOM SEG and RTSTRUCT objects.

    Args:
        address: one object, or a folder with them at any depth; any fsspec address.
    """

    name = "masks"

    def __init__(self, address: str) -> None:
        self.address = address
        self._read: dict[str, dict[tuple[str, int], dict[str, str]]] = {}

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`. A picture that no object refers to has no organs."""
        return [self._of_image(image) for image in images]

    def _of_image(self, image: SegmenterInput) -> dict[str, np.ndarray]:
        folder = image.source.volume or posixpath.dirname(image.source.uri)
        if folder not in self._read:
            self._read[folder] = self._of_folder(folder, image.source.uri)
        height, width = image.shown.shape[:2]
        stored_hw = (width, height) if image.display.transpose else (height, width)
        found = self._read[folder].get((_path(image.source.uri), image.source.frame or 0), {})
        decoded = {organ: boxes.decode_rle(rle, stored_hw) for organ, rle in found.items()}
        return {organ: np.ascontiguousarray(image.display.apply(mask)) for organ, mask in decoded.items()}

    def _of_folder(self, folder: str, uri: str) -> dict[tuple[str, int], dict[str, str]]:
        """Run lengths by (path of the file, frame) and organ, of the objects that share a series with ``uri``."""
        own = _uids(_header(uri, IMAGE_HEADER))
        masks: dict[tuple[str, int], dict[str, str]] = {}
        for address, kind in [(a, k) for a, (k, uids) in self._objects.items() if uids & own]:
            for record in _read_organs(kind, folder, address).records:
                at = masks.setdefault((_path(record.source.uri), record.source.frame or 0), {})
                at.update({organ.name: organ.rle for organ in record.organs})
        return masks

    @cached_property
    def _objects(self) -> dict[str, tuple[str, set[str]]]:
        """Address of each object to its kind and the UIDs that it refers to.

        Raises:
            UsageError: there is no SEG and no RTSTRUCT.
        """
        found = {}
        for address in _files(self.address):
            header = _header(address, HEADER)
            if header is not None and header.get("Modality") in KINDS:
                found[address] = (str(header.Modality), _uids(header))
        if not found:
            raise UsageError("there are no organ masks", where=self.address, expected="DICOM SEG or RTSTRUCT objects")
        return found


def _read_organs(kind: str, folder: str, address: str) -> ReadResult:
    if kind == "SEG":
        from medclm.data.readers.dicom_seg import read_seg

        return read_seg(folder, address, "segmenter")
    from medclm.data.readers.rtstruct import read_rtstruct

    return read_rtstruct(folder, address, "segmenter")


def _files(address: str) -> list[str]:
    fs, path = storage.open_fs(address)
    return storage.list_files(address, "**/*") if fs.isdir(path) else [address]


def _path(address: str) -> str:
    """The path without its protocol, so that two spellings of an address are equal."""
    return storage.open_fs(address)[1]


def _header(address: str, tags: list[str]) -> Any:
    """The header of a DICOM file, or None for another file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        data = io.BytesIO(storage.read_bytes(address))
        return pydicom.dcmread(data, stop_before_pixels=True, specific_tags=tags)
    except InvalidDicomError:
        return None


def _uids(header: Any) -> set[str]:
    """Series and frames of reference that a file is of, or refers to (PS3.3 C.7.4.1, C.8.20.4, C.8.8.5)."""
    if header is None:
        return set()
    frames = [header, *(header.get("ReferencedFrameOfReferenceSequence") or [])]
    studies = [study for item in frames for study in item.get("RTReferencedStudySequence") or []]
    series = [item for study in studies for item in study.get("RTReferencedSeriesSequence") or []]
    items = [*frames, *series, *(header.get("ReferencedSeriesSequence") or [])]
    names = ("SeriesInstanceUID", "FrameOfReferenceUID")
    return {str(item.get(name)) for item in items for name in names if item.get(name)}
