"""Label volumes from NIfTI, NRRD and MetaImage files, with what the files call their values."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medclm import storage
from medclm.data import nrrd_file
from medclm.data.grid import Grid
from medclm.data.volume_bytes import inflated
from medclm.data.volume_files import damaged, read_volume
from medclm.data.volumes import Volume
from medclm.errors import MedclmError

EXTENSION_BYTES = 1 << 20
"""How much of a NIfTI file is searched for header extensions, which lie before the voxels."""


@dataclass(frozen=True)
class LabelFile:
    """One label volume.

    Args:
        grid: where its voxels lie.
        values: (slices, rows, columns) int32; 0 is background.
        names: by label value; empty where the file does not say.
    """

    grid: Grid
    values: np.ndarray = field(repr=False)
    names: dict[int, str]


def read_labels(uri: str) -> list[LabelFile]:
    """The label volumes of a file: one, or, from 3D Slicer (NRRD), one a layer where segments overlap.

    Names are 3D Slicer's or TotalSegmentator's (a NIfTI header extension).

    Raises:
        MedclmError: the file is missing or damaged, is no volume, or has values that are no labels.
    """
    data = storage.read_bytes(uri)
    count = 1
    if data[:4] == b"NRRD":
        with damaged(uri):
            count = nrrd_file.layer_count(data)
    if count == 1:
        volume = read_volume(data, uri)
        names = {"nrrd": nrrd_file.segments, "nifti": _nifti_names}.get(volume.file_format, lambda data: {})(data)
        return [_labels(volume, names, uri)]
    layers = range(count)
    return [_labels(read_volume(data, uri, layer=n), nrrd_file.segments(data, n), uri) for n in layers]


def _labels(volume: Volume, names: dict[int, str], uri: str) -> LabelFile:
    stored = volume.stored if (volume.slope, volume.intercept) == (1.0, 0.0) else volume.values
    if not 0 <= float(stored.min()) <= float(stored.max()) < 2**31 or (stored != np.floor(stored)).any():
        raise MedclmError(
            "a label volume has values that are no labels",
            where=uri,
            expected="0, 1, 2 … below 2**31",
            got=f"{stored.dtype} from {stored.min()} to {stored.max()}",
        )
    return LabelFile(volume.grid, stored.astype(np.int32), names)


def _nifti_names(data: bytes) -> dict[int, str]:
    """The table that TotalSegmentator writes: ``<Label Key="1" …>spleen</Label>``.

    Raises:
        MedclmError: there is one, and it is damaged.
    """
    from xml.etree import ElementTree

    for text in _nifti_extensions(data):
        if "<Label " in text:
            try:
                table = ElementTree.fromstring(text.strip().rstrip("\0"))
                return {int(entry.get("Key", 0)): (entry.text or "").strip() for entry in table.iter("Label")}
            except (ElementTree.ParseError, ValueError) as error:
                raise MedclmError("the label table in the NIfTI header is damaged", got=error) from error
    return {}


def _nifti_extensions(data: bytes) -> list[str]:
    import nibabel

    head = inflated(data, EXTENSION_BYTES)
    is_first = 348 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind: Any = nibabel.Nifti1Image if is_first else nibabel.Nifti2Image
    contents = [entry.get_content() for entry in kind.from_stream(io.BytesIO(head)).header.extensions]
    return [entry.decode("utf-8", "ignore") if isinstance(entry, bytes) else str(entry) for entry in contents]
