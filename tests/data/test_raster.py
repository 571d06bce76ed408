"""PNG, JPEG and TIFF: depths, pages, palettes, and which way the grey values run."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from medclm.data.images import read_picture, render
from medclm.errors import MedclmError


def encoded(array: np.ndarray, kind: str, mode: str | None = None, **options) -> bytes:
    image = Image.fromarray(array)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


RAMP = np.array([[0, 255, 256, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_are_kept(kind):
    picture = read_picture(encoded(RAMP, kind), "x")
    assert (picture.bits, picture.file_format) == (16, kind)
    assert picture.values.tolist() == RAMP.tolist()


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(compression):
    array = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    assert read_picture(encoded(array, "tiff", compression=compression), "x").values.tolist() == array.tolist()


def tiff(samples: bytes, width: int, bits: int, photometric: int, order: str = "<") -> bytes:
    """One row of grey samples by TIFF 6.0: header, one directory of nine fields, samples at byte 122."""
    longs = {273: 122, 279: len(samples)}  # StripOffsets, StripByteCounts
    shorts = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1}
    fields = b"".join(
        struct.pack(order + "HHI", tag, 4 if tag in longs else 3, 1)
        + struct.pack(order + ("I" if tag in longs else "H"), value).ljust(4, b"\0")
        for tag, value in sorted({**longs, **shorts}.items())
    )
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIH", 42, 8, 9) + fields + bytes(4) + samples


@pytest.mark.parametrize(("order", "values"), [("<", [[513, 255]]), (">", [[258, 65280]])])
def test_both_byte_orders(order, values):
    assert read_picture(tiff(b"\x01\x02\xff\x00", 2, 16, 1, order), "x").values.tolist() == values


@pytest.mark.parametrize(("bits", "samples"), [(8, b"\x00\xff"), (16, b"\x00\x00\xff\xff")])
def test_white_is_zero_is_shown_as_meant(bits, samples):
    """PhotometricInterpretation 0: the sample 0 is white. At 8 bits Pillow turns the numbers round itself."""
    assert render(read_picture(tiff(samples, 2, bits, photometric=0), "x"))[0].tolist() == [[255, 0]]
    assert render(read_picture(tiff(samples, 2, bits, photometric=1), "x"))[0].tolist() == [[0, 255]]


def test_pages_of_a_tiff_are_frames():
    pages = [np.full((2, 3), 7, np.uint16), np.full((4, 2), 900, np.uint16)]
    first, *rest = [Image.fromarray(page) for page in pages]
    buffer = io.BytesIO()
    first.save(buffer, "tiff", save_all=True, append_images=rest)
    data = buffer.getvalue()
    with pytest.raises(MedclmError, match="frame=0 … frame=1"):
        read_picture(data, "x")
    for index, page in enumerate(pages):
        assert read_picture(data, "x", frame=index).values.tolist() == page.tolist()
    with pytest.raises(MedclmError, match="no such frame"):
        read_picture(data, "x", frame=2)
    with pytest.raises(MedclmError, match="too large"):
        read_picture(data, "x", frame=1, max_pixels=7)


def test_float_tiff():
    array = np.array([[-0.5, 0.25, 3e5]], np.float32)
    picture = read_picture(encoded(array, "tiff"), "x")
    assert picture.values.tolist() == array.tolist()
    assert render(picture)[0].tolist()[0][-1] == 255


def test_padding_that_is_no_number_is_black():
    picture = read_picture(encoded(np.array([[np.nan, 0, 1]], np.float32), "tiff"), "x")
    assert render(picture)[0].tolist() == [[0, 0, 255]]


def test_one_bit_palette_and_alpha():
    bits = encoded(np.array([[0, 255]], np.uint8), "png", "1")
    assert read_picture(bits, "x").values.tolist() == [[0, 255]]
    palette = encoded(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8), "png", "P")
    assert read_picture(palette, "x").values.tolist() == [[[255, 0, 0], [0, 255, 0]]]
    alpha = encoded(np.array([[[9, 9, 9, 0], [8, 8, 8, 255]]], np.uint8), "png")
    assert read_picture(alpha, "x").values.tolist() == [[9, 8]]
