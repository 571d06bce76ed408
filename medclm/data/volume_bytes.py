"""What the files of volumes have in common: gzip, voxels in a file beside the header, axes of length one."""

from __future__ import annotations

import posixpath
import zlib

from medclm import storage
from medclm.errors import MedclmError


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
