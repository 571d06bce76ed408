"""Volumes from NIfTI, NRRD and MetaImage files. How they lie comes from the file or is unknown; it is never assumed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from medclm import storage
from medclm.data.grid import Grid
from medclm.data.picture import not_an_image, too_large
from medclm.data.volume_bytes import inflated, not_one_volume
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
