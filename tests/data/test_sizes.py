"""Sizes from headers, against the same files decoded whole."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medclm import storage
from medclm.data.sizes import HEAD_BYTES, read_sizes
from medclm.errors import MedclmError


def encoded(size_hw, mode="L", **options):
    """A picture of noise as file bytes."""
    shape = size_hw if mode == "L" else (*size_hw, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def sizes(tmp_path):
    """Write files and read their sizes."""

    def _sizes(*contents):
        uris = []
        for index, data in enumerate(contents):
            (tmp_path / str(index)).write_bytes(data)
            uris.append(f"{tmp_path}/{index}")
        return read_sizes(uris)

    return _sizes


def test_rasters(sizes):
    kinds = ("png", "jpeg", "tiff", "bmp", "webp")
    assert sizes(*(encoded((7 + n, 300), format=kind) for n, kind in enumerate(kinds))) == [
        (7 + n, 300) for n in range(5)
    ]


def test_the_orientation_of_a_photo_is_not_applied(sizes):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert sizes(encoded((20, 30), mode="RGB", format="jpeg", exif=exif)) == [(20, 30)]


def test_only_the_header_is_needed(sizes):
    png = encoded((700, 500), format="png")
    assert len(png) > 2 * HEAD_BYTES
    assert sizes(png[:64]) == [(700, 500)]


def test_headers_longer_than_the_first_read(sizes):
    profile = bytes(3 * HEAD_BYTES)
    jpeg = encoded((9, 8), mode="RGB", format="jpeg", icc_profile=profile)
    tiff = encoded((400, 410), format="tiff", compression="tiff_lzw")
    assert jpeg.index(b"\xff\xc0") > HEAD_BYTES
    assert int.from_bytes(tiff[4:8], "little") > HEAD_BYTES  # where the directory is
    assert sizes(jpeg, tiff) == [(9, 8), (400, 410)]


DICOM = (
    "CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_bigendian.dcm",
    "J2K_pixelrep_mismatch.dcm",
)  # fmt: skip


@pytest.mark.parametrize("name", DICOM)
def test_dicom(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom does not bring {name} along")
    whole = pydicom.dcmread(path)
    assert read_sizes([path]) == [(whole.Rows, whole.Columns)]


def test_dicom_with_a_long_header(sizes):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.add_new(0x00091010, "OB", bytes(2 * HEAD_BYTES))
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert sizes(buffer.getvalue()) == [(128, 128)]


def test_dicom_without_pixels(sizes):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    del dataset.Rows
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    (error,) = sizes(buffer.getvalue())
    assert isinstance(error, MedclmError)


def test_faults_are_told_file_by_file(sizes, tmp_path):
    png = encoded((3, 4), format="png")
    found = sizes(b"", b"hello", png, png[:20], bytes(128) + b"DICM" + bytes(10))
    assert found[2] == (3, 4)
    for index in (0, 1, 3, 4):
        assert isinstance(found[index], MedclmError)
        assert found[index].details["where"] == f"{tmp_path}/{index}"
    (missing,) = read_sizes([f"{tmp_path}/none.png"])
    assert missing.what == "a file does not exist"


def test_an_object_store_that_fails_now_and_then(s3):
    """Range requests through a proxy that answers every fifth one with 503."""
    fs, _ = storage.open_fs("s3://sizes-test")
    fs.mkdir("sizes-test")
    small, large = encoded((30, 31), format="png"), encoded((400, 410), format="tiff", compression="tiff_lzw")
    fs.pipe({"sizes-test/a.png": small, "sizes-test/b.tif": large})
    s3.fail_every, failed_before = 5, s3.failed
    try:
        found = read_sizes(["s3://sizes-test/a.png", "s3://sizes-test/b.tif"] * 10, threads=4)
    finally:
        s3.fail_every = 0
    assert found == [(30, 31), (400, 410)] * 10
    assert s3.failed > failed_before
