"""PNG, JPEG, TIFF and what else Pillow reads; the PNG codec of rendered pictures.

Pixels are the stored ones: an EXIF orientation is *not* applied, because boxes belong to the stored pixels.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np

from medclm.data.picture import MAX_PIXELS, Picture, check_size, not_an_image, seek_frame, too_large
from medclm.errors import MedclmError

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_UP_FILTER = 2


def read_raster(data: bytes, where: str, frame: int | None, max_pixels: int) -> Picture:
    """Decode one picture; arguments and errors as in :func:`medclm.data.images.read_picture`. Pages of TIFF are frames.

    Grey samples of 16 and 32 bits keep their depth, 1-bit pictures become 0 and 255, palettes become RGB, alpha is
    dropped, and colour of more than 8 bits loses its low bits (Pillow).
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        got = f"{len(data)} bytes, first ones {data[:8]!r}"
        raise not_an_image(where, got) from None
    except Image.DecompressionBombError:
        raise too_large(where, "more pixels than Pillow opens", max_pixels) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise not_an_image(where, str(error)) from error
    check_size(where, image.height, image.width, max_pixels)
    try:
        seek_frame(where, getattr(image, "n_frames", 1), frame, image.seek)
        check_size(where, image.height, image.width, max_pixels)  # pages may differ
        values, bits = _raster_values(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MedclmError(
            "the image file is cut off or damaged",
            where=where,
            expected="a whole image file",
            got=str(error),
            remedy="fetch the file again",
        ) from error
    return Picture(values, (image.format or "").lower(), bits=bits, inverted=_white_is_zero(image, bits))


def _white_is_zero(image, bits: int) -> bool:
    """Whether low values are bright: TIFF's PhotometricInterpretation 0, which Pillow undoes up to 8 bits only."""
    return image.format == "TIFF" and bits > 8 and image.tag_v2.get(262) == 0


def _raster_values(image) -> tuple[np.ndarray, int]:
    """Pixels of an open Pillow image and their bits: one channel as float32, colour as RGB uint8."""
    if image.mode.startswith(("I", "F")):
        array = np.asarray(image)
        return array.astype(np.float32), 8 * array.dtype.itemsize
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L")).astype(np.float32), 8
    return gray_if_equal(np.asarray(image.convert("RGB"))), 8


def gray_if_equal(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 whose channels are all the same becomes (H, W) float32; other pictures stay."""
    same = np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])
    return rgb[..., 0].astype(np.float32) if same else rgb


def encode_png(array: np.ndarray) -> bytes:
    """Lossless PNG of (H, W) uint8 or uint16, or of (H, W, 3) uint8. The same pixels give the same bytes.

    Every row is written as its difference from the one above (filter 2, PNG specification section 9.2) and packed by
    run length and Huffman code alone (zlib's Z_RLE). On 512 x 512 radiographs 2.5 ms and 132 KiB, where Pillow, which
    tries five filters a row, takes 8 ms and 149 KiB at level 1.
    """
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3):
        raise ValueError(f"PNG takes uint8 or uint16 (H, W) or uint8 (H, W, 3), got {array.dtype} {array.shape}")
    if array.ndim == 3 and (array.shape[2] != 3 or array.dtype != np.uint8):
        raise ValueError(f"a colour PNG takes uint8 (H, W, 3), got {array.dtype} {array.shape}")
    height, width = array.shape[:2]
    rows = np.ascontiguousarray(array, ">u2" if array.dtype == np.uint16 else None).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP_FILTER
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, 2 if array.ndim == 3 else 0, 0, 0, 0)
    packed = packer.compress(filtered.data) + packer.flush()
    return _PNG_MARK + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Length, type, data and check sum (PNG specification section 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def decode_png(data: bytes, where: str = "", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Stored pixels of a PNG or JPEG: (H, W) uint8 or uint16, or (H, W, 3) uint8. The inverse of :func:`encode_png`."""
    picture = read_raster(data, where, None, max_pixels)
    if picture.is_color:
        return picture.values
    return picture.values.astype(np.uint16 if picture.bits > 8 else np.uint8)
