"""Compressed transfer syntaxes: files that ship with pydicom against an uncompressed twin or a second decoder."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.pixels import get_decoder, pixel_array

from medclm.data.images import read_picture

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def read(name: str, frame: int | None = None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_picture((FILES / name).read_bytes(), name, frame)


def syntax_of(name: str) -> uid.UID:
    return pydicom.dcmread(FILES / name, specific_tags=["Rows"]).file_meta.TransferSyntaxUID


@pytest.mark.parametrize(
    ("name", "twin", "syntax"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm", uid.RLELossless),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm", uid.JPEG2000Lossless),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", uid.JPEGLSLossless),
        ("MR_small_bigendian.dcm", "MR_small.dcm", uid.ExplicitVRBigEndian),
        ("MR_small_implicit.dcm", "MR_small.dcm", uid.ImplicitVRLittleEndian),
        ("rtdose_rle_1frame.dcm", "rtdose_1frame.dcm", uid.RLELossless),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", uid.JPEGLosslessSV1),
    ],
)
def test_lossless_files_equal_their_twin(name, twin, syntax):
    assert syntax_of(name) == syntax
    assert np.array_equal(read(name).values, read(twin).values)


@pytest.mark.parametrize("frame", [0, 7, 14])
def test_frames_of_a_compressed_file_equal_the_twins(frame):
    found = read("rtdose_rle.dcm", frame).values
    assert np.array_equal(found, read("rtdose.dcm", frame).values)
    assert found.any()


SECOND_DECODER = [
    ("examples_jpeg2k.dcm", uid.JPEG2000Lossless, "pillow", 0),
    ("693_J2KI.dcm", uid.JPEG2000, "pillow", 0),
    ("JPEG2000.dcm", uid.JPEG2000, "pillow", 0),
    ("SC_rgb_gdcm_KY.dcm", uid.JPEG2000, "pillow", 0),
    ("JPEGLSNearLossless_08.dcm", uid.JPEGLSNearLossless, "pylibjpeg", 0),
    ("JPEGLSNearLossless_16.dcm", uid.JPEGLSNearLossless, "pylibjpeg", 0),
    ("SC_rgb_jls_lossy_line.dcm", uid.JPEGLSNearLossless, "pylibjpeg", 0),
    ("SC_rgb_dcmtk_+eb+cr.dcm", uid.JPEGBaseline8Bit, "pylibjpeg", 1),  # two inverse transforms may round apart
    ("SC_rgb_jpeg_app14_dcmd.dcm", uid.JPEGBaseline8Bit, "pylibjpeg", 1),
    ("SC_rgb_jpeg_dcmtk.dcm", uid.JPEGBaseline8Bit, "pylibjpeg", 2),  # and then the two colour transforms
]


@pytest.mark.parametrize(("name", "syntax", "plugin", "apart"), SECOND_DECODER)
def test_files_equal_a_second_decoder(name, syntax, plugin, apart):
    assert syntax_of(name) == syntax
    picture = read(name)
    ds = pydicom.dcmread(FILES / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pixel_array(ds, decoding_plugin=plugin).astype(np.float64)
    if not picture.is_color:
        expected = expected * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    assert picture.values.shape == expected.shape
    assert np.abs(picture.values - expected).max() <= apart


def test_twelve_bit_jpeg_keeps_its_depth():
    assert syntax_of("JPGExtended.dcm") == uid.JPEGExtended12Bit
    picture = read("JPGExtended.dcm")
    assert (picture.bits, picture.size_hw) == (12, (1024, 256))
    assert picture.values.max() > 255


def test_any_jpeg_lossless_predictor_is_read():
    """Process 14 with selection value 1 is one of the streams that the more general syntax allows."""
    ds = pydicom.dcmread(FILES / "SC_rgb_jpeg_gdcm.dcm")
    ds.file_meta.TransferSyntaxUID = uid.JPEGLossless
    buffer = io.BytesIO()
    ds.save_as(buffer)
    picture = read_picture(buffer.getvalue(), "x")
    assert np.array_equal(picture.values, read("SC_rgb_jpeg_gdcm.dcm").values)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_what_pydicom_encodes_comes_back(syntax, dtype):
    limits = np.iinfo(dtype)
    pixels = np.random.default_rng(0).integers(limits.min, limits.max, (2, 32, 48), dtype=dtype, endpoint=True)
    ds = pydicom.dcmread(FILES / "MR_small.dcm")
    ds.Rows, ds.Columns, ds.NumberOfFrames = 32, 48, 2
    ds.BitsAllocated = ds.BitsStored = limits.bits
    ds.HighBit, ds.PixelRepresentation = limits.bits - 1, int(limits.min < 0)
    ds.PixelData = pixels.tobytes()
    ds.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    for frame in range(2):
        assert np.array_equal(read_picture(buffer.getvalue(), "x", frame).values, pixels[frame])


COMPRESSED = [
    uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless,
    uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K,
    uid.RLELossless,
]  # fmt: skip


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.keyword)
def test_every_compressed_syntax_has_a_decoder(syntax):
    assert get_decoder(syntax).is_available
