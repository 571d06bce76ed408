"""DICOM files made by hand, as bytes."""

from __future__ import annotations

import io

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian


def dicom(pixels: np.ndarray, **attributes) -> bytes:
    """A DICOM file around ``pixels`` (H, W), (H, W, 3) or, with NumberOfFrames, (N, H, W)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    color = pixels.shape[-1] == 3 and pixels.ndim == 3 and "NumberOfFrames" not in attributes
    ds.Rows, ds.Columns = pixels.shape[:2] if color else pixels.shape[-2:]
    ds.SamplesPerPixel = 3 if color else 1
    ds.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(ds, name, value)
    data = pixels.tobytes()
    ds.add_new("PixelData", "OW" if pixels.dtype.itemsize > 1 else "OB", data + b"\0" * (len(data) % 2))
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def lut_item(first: int, entries: list[int], bits: int, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", vr, entries if vr == "US" else np.array(entries, "<u2").tobytes())
    return item


def u16(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.uint16)


def group(**macros: dict) -> Dataset:
    """One item of a functional groups sequence, macro by macro."""
    outer = Dataset()
    for name, attributes in macros.items():
        inner = Dataset()
        for key, value in attributes.items():
            setattr(inner, key, value)
        setattr(outer, name, Sequence([inner]))
    return outer
