"""Files of every kind as pictures: frames, damage, limits, the codecs, and pydicom as oracle on its own files."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from medclm.data import images
from medclm.data.images import decode_png, encode_png, read_picture, render, to_gray
from medclm.errors import MedclmError
from tests.data.dicom_bytes import dicom

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def test_equal_channels_are_grey():
    picture = read_picture(dicom(np.full((2, 2, 3), 9, dtype=np.uint8)), "x")
    assert not picture.is_color
    assert picture.values.tolist() == [[9, 9], [9, 9]]
    assert to_gray(np.array([[[255, 0, 0]]], dtype=np.uint8)).tolist() == [[76]]  # 0.299 * 255 = 76.2


def test_frames_must_be_named():
    data = dicom(np.arange(6, dtype=np.uint16).reshape(3, 1, 2), NumberOfFrames=3)
    with pytest.raises(MedclmError, match="frame=0 … frame=2"):
        read_picture(data, "x")
    assert read_picture(data, "x", frame=2).values.tolist() == [[4, 5]]
    with pytest.raises(MedclmError, match="no such frame"):
        read_picture(data, "x", frame=3)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
def test_truncated_dicom_is_one_clear_error(keep):
    whole = dicom(np.zeros((32, 32), dtype=np.uint16), PatientID="1", RescaleSlope=1, RescaleIntercept=0)
    with pytest.raises(MedclmError) as caught:
        read_picture(whole[: int(len(whole) * keep)], "cut.dcm")
    assert caught.value.details["where"] == "cut.dcm"
    assert caught.value.details["remedy"]


@pytest.mark.parametrize("data", [b"", b"hello world", b"\x08\x00garbage", b"\0" * 128 + b"DICM" + b"\xff" * 50])
def test_bytes_that_are_no_image(data):
    with pytest.raises(MedclmError):
        read_picture(data, "x")


def readable_or_explained(data: bytes, where: str) -> bool:
    """Whether the picture renders; if not, the error is ours and names the file. Anything else is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shown = render(read_picture(data, where, max_pixels=2_000_000))[0]
        except MedclmError as error:
            if error.details["where"] != where:
                raise
            return False
    return shown.dtype == np.uint8


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(data):
    attributes = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 1, "WindowWidth": 5}
    damaged = bytearray(dicom(np.zeros((4, 4), dtype=np.uint16), **attributes))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(132, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert readable_or_explained(bytes(damaged), "x") in (True, False)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_truncated_raster(kind):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(buffer, kind)
    with pytest.raises(MedclmError, match="cut off or damaged"):
        read_picture(buffer.getvalue()[:-400], "x")


def test_pixel_limit():
    with pytest.raises(MedclmError, match="too large"):
        read_picture(encode_png(np.zeros((20, 20), np.uint8)), "x", max_pixels=399)
    with pytest.raises(MedclmError, match="too large"):
        read_picture(dicom(np.zeros((20, 20), np.uint16)), "x", max_pixels=399)
    assert read_picture(encode_png(np.zeros((20, 20), np.uint8)), "x", max_pixels=400).size_hw == (20, 20)


def test_exif_orientation_is_not_applied():
    image = Image.fromarray(np.zeros((4, 8), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees for display
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", exif=exif)
    assert read_picture(buffer.getvalue(), "x").size_hw == (4, 8)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
)
def test_png_round_trip(array):
    decoded = decode_png(encode_png(array))
    assert decoded.dtype == array.dtype
    assert np.array_equal(decoded, array)
    assert encode_png(decoded) == encode_png(array)


GREY_FILES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "693_J2KI.dcm",
    "JPGExtended.dcm",
    "rtdose_1frame.dcm",
]


@pytest.mark.parametrize("name", GREY_FILES)
def test_grey_files_of_pydicom(name):
    """Modality values equal pydicom's; the 8 bits equal its windowing scaled from its output range to 0..255."""
    from pydicom.pixels import apply_modality_lut, apply_windowing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(PYDICOM_FILES / name)
        expected = apply_modality_lut(ds.pixel_array, ds)
    picture = read_picture((PYDICOM_FILES / name).read_bytes(), name)
    assert np.array_equal(picture.values, expected.astype(np.float32))
    if "WindowWidth" not in ds:
        return
    windowed = apply_windowing(expected, ds)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    low = -(2 ** (ds.BitsStored - 1)) if ds.PixelRepresentation else 0
    low, high = low * slope + intercept, (low + 2**ds.BitsStored - 1) * slope + intercept
    assert np.abs(render(picture)[0] - (windowed - low) / (high - low) * 255).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_rle.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_small_odd.dcm", "SC_ybr_full_422_uncompressed.dcm"],
)
def test_color_files_of_pydicom(name):
    from pydicom.pixels import pixel_array

    picture = read_picture((PYDICOM_FILES / name).read_bytes(), name)
    assert np.array_equal(picture.values, pixel_array(PYDICOM_FILES / name))


def test_every_other_file_of_pydicom_decodes_or_says_why():
    readable = [readable_or_explained(path.read_bytes(), path.name) for path in sorted(PYDICOM_FILES.glob("*.dcm"))]
    assert sum(readable) >= 40


def test_truncated_file_of_pydicom():
    with pytest.raises(MedclmError, match="cannot be decoded"):
        read_picture((PYDICOM_FILES / "MR_truncated.dcm").read_bytes(), "MR_truncated.dcm")


def test_images_module_starts_light():
    assert "pydicom" not in vars(images)
