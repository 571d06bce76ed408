"""Volumes from NIfTI, NRRD and MetaImage files. How they lie comes from the file or is unknown; it is never assumed."""

from __future__ import annotations

import posixpath
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from medclm import storage
from medclm.data.grid import Grid
from medclm.data.picture import not_an_image, too_large
from medclm.data.volumes import SliceFile, Volume
from medclm.errors import MedclmError

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Of the files that hold a volume, lower case."""
MAX_VOXELS = 1_000_000_000
"""Largest volume that is decoded, against decompression bombs."""
HEAD_BYTES = 1 << 16
"""How much of a file is read for its header; a longer one (many segments in an NRRD) costs the whole file."""
_NIFTI_MARKS = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0", b"ni2\0"))}
"""By the size of the header, its first number: where its mark is, and which."""


def is_volume(data: bytes) -> bool:
    """Whether the bytes begin as a NIfTI (also gzipped), NRRD or MetaImage file does."""
    return _kind(data) != ""


def read_volume(data: bytes, where: str, beside: bool = False, layer: int | None = None) -> Volume:
    """The volume in one file.

    Args:
        data: the whole file.
        where: its address.
        beside: whether ``where`` is a place that may be read: a header alone (.mhd, .nhdr) names a file beside it that
            has the voxels. Never for bytes that a stranger sent.
        layer: of an NRRD file with several layers of labels, from 0.

    Raises:
        MedclmError: the file is damaged, too large, or no volume of three axes with one number a voxel.
    """
    kind = _kind(data)
    module = _format(kind, data, where)
    with damaged(where):
        grid = _checked(module.grid(data), where)
        array, slope, intercept = (
            module.voxels(data, where, beside) if layer is None else (module.layer(data, layer), 1.0, 0.0)
        )
        if array.dtype.kind not in "uif":
            raise not_one_volume(f"voxels of {array.dtype}")
        stored = np.ascontiguousarray(array.transpose(2, 1, 0))
        finite = np.isfinite(stored)
        if not finite.all():  # outside of what was scanned
            stored = np.where(finite, stored, stored[finite].min() if finite.any() else 0).astype(stored.dtype)
    slices = tuple(SliceFile(where, k) for k in range(len(grid)))
    return Volume(stored, grid, kind, slope, intercept, slices=slices)


def read_grid(uri: str) -> Grid:
    """The grid of the volume in a file, from its header alone.

    Raises:
        MedclmError: the file does not exist, or has no header of a volume.
    """
    fs, path = storage.open_fs(uri)
    try:
        head = storage.retried(lambda: fs.cat_file(path, start=0, end=HEAD_BYTES))
    except OSError as error:
        raise MedclmError("a file cannot be read", where=uri, got=error) from error
    kind = _kind(head)
    if kind == "nrrd" and b"\n\n" not in head.replace(b"\r", b"") and len(head) == HEAD_BYTES:
        head = storage.read_bytes(uri)
    with damaged(uri):
        return _checked(_format(kind, head, uri).grid(head), uri)


def _format(kind: str, data: bytes, where: str) -> ModuleType:
    """The module of a format: ``grid(head)``; ``voxels(data, where, beside)``: (I, J, K) array, slope, intercept."""
    from medclm.data import metaimage, nifti, nrrd_file

    found = {"nifti": nifti, "nrrd": nrrd_file, "metaimage": metaimage}.get(kind)
    if found is None:
        raise not_an_image(where, f"{len(data)} bytes, first ones {data[:8]!r}")
    return found


def _kind(data: bytes) -> str:
    head = inflated(data, 1024)
    if head[:4] == b"NRRD":
        return "nrrd"
    if head[:10].lower() == b"objecttype" or head[:5].lower() == b"ndims":
        return "metaimage"
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")} & _NIFTI_MARKS.keys()
    for size in sizes:
        start, marks = _NIFTI_MARKS[size]
        return "nifti" if head[start : start + 4] in marks else ""
    return ""


def inflated(data: bytes, length: int, whole: bool = False) -> bytes:
    """The first bytes of a file, or of its content where it is gzipped; fewer where the file ends before.

    Args:
        whole: the gzip file must end properly where it ends before ``length``: its check sum is looked at. Otherwise
            ``data`` may be the beginning of a file, and damage gives fewer bytes.

    Raises:
        EOFError, zlib.error: ``whole``, and the gzip file is cut off or damaged.
    """
    if data[:2] != b"\x1f\x8b":
        return data[:length]
    found = b""
    while data and len(found) < length:  # a gzip file may have several members
        member = zlib.decompressobj(wbits=31)
        try:
            found += member.decompress(data, length - len(found))
        except zlib.error:
            if whole:
                raise
            return found
        if whole and not member.eof and len(found) < length:
            raise EOFError("the gzip file is cut off")
        data = member.unused_data
    return found


@contextmanager
def damaged(where: str) -> Iterator[None]:
    """Turn what the libraries raise over broken files into the error a user sees; our own errors get their place."""
    import nrrd
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    libraries = (nrrd.NRRDError, ImageFileError, HeaderDataError, WrapStructError)
    values = (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, ArithmeticError)
    try:
        yield
    except MedclmError as error:
        if error.details["where"] is None:
            raise MedclmError(error.what, **{**error.details, "where": where}) from error  # type: ignore[arg-type]
        raise
    except (*libraries, *values, np.linalg.LinAlgError, OSError, EOFError, zlib.error) as error:
        raise MedclmError(
            "the volume file is cut off or damaged",
            where=where,
            expected="a whole NIfTI, NRRD or MetaImage file with a valid header",
            got=str(error) or type(error).__name__,
            remedy="fetch the file again",
        ) from error


def _checked(grid: Grid, where: str) -> Grid:
    if np.prod(grid.size_ijk, dtype=np.float64) > MAX_VOXELS:
        raise too_large(where, f"{grid.size_ijk} voxels", MAX_VOXELS)
    return grid


def three_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape (I, J, K) of one volume: axes of length one at the end are dropped, two axes are one slice.

    Raises:
        MedclmError: it is a series of volumes, or has several numbers a voxel.
    """
    sizes = [int(v) for v in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    sizes += [1] * (3 - len(sizes))
    if len(sizes) != 3 or min(sizes) < 1:
        raise not_one_volume(" x ".join(map(str, shape)))
    return sizes[0], sizes[1], sizes[2]


def not_one_volume(got: str) -> MedclmError:
    """The error for series of volumes, colour and layers."""
    return MedclmError(
        "the file is not one volume",
        expected="three axes with one number a voxel",
        got=got,
        remedy="write each volume of a series, or each layer of segments, as its own file",
    )


def sibling(where: str, name: str) -> bytes:
    """The bytes of the file ``name`` in the folder of the file ``where``: the voxels of a header.

    Raises:
        MedclmError: ``where`` is "" (no other file may be read), ``name`` has a folder, or there is no such
            file.
    """
    if not where or posixpath.basename(name) != name or "%" in name or name.upper().startswith("LIST"):
        raise MedclmError(
            "the voxels are not in the file, nor in one file beside it",
            where=where or None,
            expected="header and voxels in one file, or the name of a file in the same folder",
            got=name,
            remedy="write the volume as one .nrrd or .mha file",
        )
    fs, path = storage.open_fs(where)
    return storage.read_bytes(fs.unstrip_protocol(posixpath.join(posixpath.dirname(path), name)))
