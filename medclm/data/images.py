"""Pictures from files: one door to every decoder, and the names that the rest of the program uses.

Grey DICOM pictures go through the chain of DICOM PS3.3: stored values (C.7.6.3) -> Modality LUT or rescale (C.11.1)
(:mod:`medclm.data.dicom`) -> VOI LUT or window (C.11.2) -> inversion of MONOCHROME1 -> 8 bits
(:mod:`medclm.data.render`). Pixels are the stored ones; :attr:`Picture.display` says how they are turned.
"""

from __future__ import annotations

import hashlib

from medclm import storage
from medclm.data.ct_windows import CT_WINDOWS
from medclm.data.picture import MAX_PIXELS, Lut, Picture, check_size, not_an_image, seek_frame, too_large
from medclm.data.raster import decode_png, encode_png, gray_if_equal, read_raster
from medclm.data.render import apply_window, render, to_gray
from medclm.data.volumes import Volume

__all__ = [
    "CT_WINDOWS", "MAX_PIXELS", "Lut", "Picture", "apply_window", "check_size", "decode_png", "encode_png",
    "gray_if_equal", "not_an_image", "read_file", "read_picture", "render", "seek_frame", "to_gray", "too_large",
]  # fmt: skip


def read_picture(data: bytes, where: str, frame: int | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode one image file by its content: DICOM, NIfTI, NRRD, MetaImage, else what Pillow reads (PNG, JPEG, TIFF …).

    Args:
        data: the whole file.
        where: its address, for messages.
        frame: which frame of a multi-frame file, page of a TIFF or slice of a volume along its third axis, from 0; None
            is right for files with one only. Slice k of a NIfTI volume is ``array[:, :, k].T``: rows count along the
            second axis, columns along the first. Volumes that were decoded last stay in memory
            (:mod:`medclm.data.volume_cache`).
        max_pixels: a larger picture is refused before it is decoded.

    Raises:
        MedclmError: the bytes are no image, are cut off, carry no pixels, are too large, or need ``frame``.
    """
    from medclm.data import dicom, volume_cache, volume_files

    if dicom.is_dicom(data):
        return dicom.read_dicom(data, where, frame, max_pixels)
    if volume_files.is_volume(data):
        return _slice(volume_cache.volume_in(data, where), where, frame, max_pixels)
    return read_raster(data, where, frame, max_pixels)


def read_file(uri: str, frame: int | None = None, max_pixels: int = MAX_PIXELS) -> tuple[Picture, str]:
    """As :func:`read_picture`, of a file by its address, and the SHA-256 of the file in hex.

    A volume is read and decoded once for all of its slices; a MetaImage header may have its voxels beside it.

    Raises:
        MedclmError: the file does not exist, or as :func:`read_picture`.
    """
    from medclm.data import volume_cache, volume_files

    if uri.lower().endswith(volume_files.SUFFIXES):
        volume, digest = volume_cache.load_volume(uri)
        return _slice(volume, uri, frame, max_pixels), digest
    data = storage.read_bytes(uri)
    return read_picture(data, uri, frame, max_pixels), hashlib.sha256(data).hexdigest()


def _slice(volume: Volume, where: str, frame: int | None, max_pixels: int) -> Picture:
    check_size(where, *volume.grid.size_hw, max_pixels)
    seek_frame(where, len(volume), frame, lambda index: None)
    return volume.picture(frame or 0)
