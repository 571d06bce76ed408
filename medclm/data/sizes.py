"""Height and width of image files from their headers, for formats whose boxes are shares of the picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

from medclm import storage
from medclm.data.dicom import is_dicom
from medclm.data.images import not_an_image
from medclm.data.threads import THREADS, in_threads
from medclm.errors import MedclmError

_TIFF_ORDER: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
HEAD_BYTES = 1 << 16
"""How much of a file is read first; a longer header (large profiles, TIFF with its directory last) costs the rest."""


def read_sizes(uris: Sequence[str], threads: int = THREADS) -> list[tuple[int, int] | MedclmError]:
    """The (height, width) in stored pixels of each file, in order; no pixel is decoded.

    An EXIF orientation is not applied, as in :func:`medclm.data.images.read_picture`.

    Args:
        uris: any fsspec addresses of DICOM files or of images that Pillow reads.
        threads: how many files are read at a time.

    Returns:
        For each file its size, or the error that says why it has none.
    """
    return list(in_threads(_size_or_error, uris, threads))


def _size_or_error(uri: str) -> tuple[int, int] | MedclmError:
    try:
        head = _head(uri)
        size_hw = _size(head)
        if size_hw is None and len(head) == HEAD_BYTES:
            size_hw = _size(storage.read_bytes(uri))
        return size_hw or not_an_image(uri, "no header that says width and height")
    except MedclmError as error:
        return error


def _head(uri: str) -> bytes:
    fs, path = storage.open_fs(uri)
    try:
        return storage.retried(lambda: fs.cat_file(path, start=0, end=HEAD_BYTES))
    except FileNotFoundError as error:
        raise MedclmError("a file does not exist", where=uri) from error
    except OSError as error:
        raise MedclmError("a file cannot be read", where=uri, got=error) from error


def _size(head: bytes) -> tuple[int, int] | None:
    """The size that the beginning of a file tells, or None."""
    size_hw = _dicom_size(head) if is_dicom(head) else _raster_size(head)
    return size_hw if size_hw and min(size_hw) > 0 else None


def _raster_size(head: bytes) -> tuple[int, int] | None:
    from PIL import Image

    order = _TIFF_ORDER.get(head[:4])
    if order is not None and int.from_bytes(head[4:8], order) >= len(head):
        return None  # the directory with the size comes later
    try:
        with Image.open(io.BytesIO(head)) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return None


def _dicom_size(head: bytes) -> tuple[int, int] | None:
    import struct

    import pydicom

    try:
        tags = ["Rows", "Columns"]
        dataset = pydicom.dcmread(io.BytesIO(head), stop_before_pixels=True, specific_tags=tags, force=True)
        return int(dataset.Rows), int(dataset.Columns)
    except (AttributeError, EOFError, OSError, ValueError, TypeError, KeyError, NotImplementedError, struct.error):
        return None
