"""MetaImage (``.mha``; ``.mhd`` with ``.raw`` or ``.zraw`` beside it): the format of LUNA16.

Only what ITK's writers make is read: binary, one number a voxel, one data file. ``TransformMatrix`` lists the direction
of the first axis, then of the second and third; ``Offset`` is the centre of the first voxel. Both are LPS+, ITK's
physical space; ``AnatomicalOrientation`` repeats in letters what the directions say and is not read.
"""

from __future__ import annotations

import zlib

import numpy as np

from medclm.data.grid import Grid, grid_of
from medclm.data.picture import not_an_image
from medclm.data.volume_bytes import sibling, three_axes

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


def grid(head: bytes) -> Grid:
    """The grid from the beginning of a file; without directions and offset nobody knows how it lies."""
    header, _ = _header(head)
    spacing = np.array(header.get("elementspacing", header.get("elementsize", "0 0 0")).split(), dtype=float)
    return grid_of(_shape(header), _affine(header, spacing), np.r_[spacing, 0, 0][:3])


def voxels(data: bytes, where: str, beside: bool) -> tuple[np.ndarray, float, float]:
    """(I, J, K) as stored, slope 1, intercept 0 (the format has none).

    Args:
        data: the header file, with the voxels where ``ElementDataFile`` is LOCAL.
        where: its address. beside: whether the voxels may be read from another file of its folder.

    Raises:
        MedclmError: the voxels are missing or in a form that is not read. EOFError: the file is cut off.
    """
    header, start = _header(data)
    channels = int(header.get("elementnumberofchannels", 1))
    if header["elementtype"] not in _TYPES or channels != 1 or not _yes(header, "binarydata", True):
        raise not_an_image(where, f"voxels of {channels} x {header['elementtype']}, binary: {header.get('binarydata')}")
    msb = _yes(header, "binarydatabyteordermsb") or _yes(header, "elementbyteordermsb")
    dtype = np.dtype((">" if msb else "<") + _TYPES[header["elementtype"]])
    shape = _shape(header)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = _raw(data, start, header, where if beside else "", size)
    if len(raw) < size:
        raise EOFError(f"{len(raw)} bytes of voxels, {size} are declared")
    return np.frombuffer(raw[:size], dtype).reshape(shape, order="F"), 1.0, 0.0


def _shape(header: dict[str, str]) -> tuple[int, int, int]:
    return three_axes(tuple(int(v) for v in header["dimsize"].split()))


def _header(data: bytes) -> tuple[dict[str, str], int]:
    """Keys in lower case to their values, and where the header ends: with ``ElementDataFile``, always the last key."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data) and "elementdatafile" not in found:
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        key, equals, value = data[at:end].decode("utf-8").partition("=")
        if equals:
            found[key.strip().lower()] = value.strip()
        at = end + 1
    return found, at


def _yes(header: dict[str, str], key: str, default: bool = False) -> bool:
    return header[key].lower() in ("true", "1", "t", "yes") if key in header else default


def _raw(data: bytes, start: int, header: dict[str, str], where: str, size: int) -> bytes:
    """The bytes of the voxels, ``size`` or more in a whole file; ``where`` is "" where no other file may be read."""
    name = header["elementdatafile"]
    raw = data[start:] if name.upper() == "LOCAL" else sibling(where, name)
    skip = int(header.get("headersize", 0))
    if _yes(header, "compresseddata"):
        return zlib.decompressobj(wbits=47).decompress(raw[max(skip, 0) :], size)
    return raw[len(raw) - size :] if skip == -1 else raw[skip:]


def _affine(header: dict[str, str], spacing: np.ndarray) -> np.ndarray | None:
    """LPS+; None without directions or offset."""
    text = next((header[key] for key in ("transformmatrix", "rotation", "orientation") if key in header), "")
    offset = next((header[key] for key in ("offset", "position", "origin") if key in header), "")
    if not text or not offset:
        return None
    directions = np.array(text.split(), dtype=float).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = directions.T * spacing
    affine[:3, 3] = np.array(offset.split(), dtype=float)
    return affine
