"""The DICOM chain with values worked out by hand, pydicom as oracle on its own files, and the codecs."""

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
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from medclm.data import images
from medclm.data.images import CT_WINDOWS, apply_window, decode_png, encode_png, read_picture, render, to_gray
from medclm.data.records import Spacing, Window
from medclm.errors import MedclmError, UsageError

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def dicom(pixels: np.ndarray, **attributes) -> bytes:
    """A DICOM file around ``pixels`` (H, W), (H, W, 3) or, with NumberOfFrames, (N, H, W)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    color = pixels.shape[-1] == 3 and pixels.ndim == 3 and "NumberOfFrames" not in attributes
    ds.Rows, ds.Columns = pixels.shape[:2] if color else pixels.shape[-2:]
    ds.SamplesPerPixel = 3 if color else 1
    ds.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(ds, name, value)
    data = pixels.tobytes()
    ds.add_new("PixelData", "OW" if pixels.dtype.itemsize > 1 else "OB", data + b"\0" * (len(data) % 2))
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def lut_item(first: int, entries: list[int], bits: int, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", vr, entries if vr == "US" else np.array(entries, "<u2").tobytes())
    return item


def u16(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.uint16)


def test_rescale_gives_hounsfield_units():
    picture = read_picture(dicom(u16([0, 1000, 1024]), Modality="CT", RescaleSlope=2, RescaleIntercept=-1024), "x")
    assert picture.values.dtype == np.float32
    assert picture.values.tolist() == [[-1024, 976, 1024]]
    assert picture.modality == "CT"


def test_signed_stored_values_keep_their_sign():
    picture = read_picture(dicom(np.array([[-5, 7]], dtype=np.int16)), "x")
    assert picture.values.tolist() == [[-5, 7]]


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_modality_lut_clamps_at_both_ends(vr):
    data = dicom(u16([0, 10, 11, 12, 99]), ModalityLUTSequence=Sequence([lut_item(10, [100, 200, 400], 16, vr)]))
    assert read_picture(data, "x").values.tolist() == [[100, 100, 200, 400, 400]]


def test_modality_lut_with_negative_first_value():
    pixels = np.array([[-3, -2, -1, 0]], dtype=np.int16)
    data = dicom(pixels, ModalityLUTSequence=Sequence([lut_item(-2, [5, 6, 7], 8)]))
    assert read_picture(data, "x").values.tolist() == [[5, 5, 6, 7]]


def test_linear_window_by_hand():
    # centre 10, width 5: y = (x - 9.5) / 4 + 0.5, so 8 -> 0.125, 9 -> 0.375, 11 -> 0.875; 7 and 12 are outside
    data = dicom(u16([7, 8, 9, 11, 12]), WindowCenter=10, WindowWidth=5)
    shown, window = render(read_picture(data, "x"))
    assert shown.tolist() == [[0, 32, 96, 223, 255]]  # 31.875, 95.625, 223.125 rounded
    assert window == Window(center=10, width=5)


def test_linear_exact_window_by_hand():
    # y = (x - 10) / 4 + 0.5: 9 -> 0.25 -> 63.75, 11 -> 0.75 -> 191.25
    data = dicom(u16([7, 8, 9, 11, 12, 13]), WindowCenter=10, WindowWidth=4, VOILUTFunction="LINEAR_EXACT")
    assert render(read_picture(data, "x"))[0].tolist() == [[0, 0, 64, 191, 255, 255]]


def test_sigmoid_window_by_hand():
    # x = c gives 1/2; x = c + w/4 gives 1 / (1 + exp(-1)) = 0.73106 -> 186.42
    data = dicom(u16([10, 12, 0]), WindowCenter=10, WindowWidth=8, VOILUTFunction="SIGMOID")
    assert render(read_picture(data, "x"))[0].tolist() == [[128, 186, 2]]  # 1/(1+e^5) = .00669 -> 1.7


def test_width_one_is_a_threshold():
    assert apply_window(np.array([9.0, 9.5, 10.0]), Window(center=10, width=1)).tolist() == [0, 0, 1]


def test_monochrome1_is_inverted_after_the_window():
    # Inverted before the window, 16-bit 0 would be 65535 and everything would be white.
    data = dicom(u16([0, 8, 100]), WindowCenter=10, WindowWidth=5, PhotometricInterpretation="MONOCHROME1")
    picture = read_picture(data, "x")
    assert picture.inverted
    assert picture.values.tolist() == [[0, 8, 100]]
    assert render(picture)[0].tolist() == [[255, 223, 0]]


def test_voi_lut_goes_before_the_window_and_spans_its_bits():
    voi = Sequence([lut_item(1, [0, 512, 1023], 10)])
    data = dicom(u16([0, 1, 2, 3, 9]), VOILUTSequence=voi, WindowCenter=1, WindowWidth=2)
    shown, window = render(read_picture(data, "x"))
    assert shown.tolist() == [[0, 0, 128, 255, 255]]  # 512 / 1023 * 255 = 127.6
    assert window is None


def test_voi_lut_is_applied_to_rescaled_values():
    voi = Sequence([lut_item(-10, [0, 255], 8)])
    data = dicom(u16([0, 1]), RescaleSlope=1, RescaleIntercept=-10, VOILUTSequence=voi)
    assert render(read_picture(data, "x"))[0].tolist() == [[0, 255]]


def test_sixteen_bits_survive_until_the_window():
    data = dicom(u16([30000, 30001, 30002]), WindowCenter=30001.5, WindowWidth=3)
    assert render(read_picture(data, "x"))[0].tolist() == [[0, 128, 255]]


def test_ct_without_window_shows_lung_where_there_is_much_air():
    body = np.full((40, 40), -1000, dtype=np.int16)
    body[5:35, 5:35] = 40
    assert render(read_picture(dicom(body, Modality="CT"), "x"))[1] == CT_WINDOWS["mediastinum"]
    body[8:28, 8:28] = -850  # 400 of 900 body pixels
    shown, window = render(read_picture(dicom(body, Modality="CT"), "x"))
    assert window == CT_WINDOWS["lung"]
    assert shown[10, 10] == 85  # (-850 + 600.5) / 1499 + 0.5 = 0.33356 -> 85.06


def test_preset_and_explicit_window_replace_the_file_s_own():
    ct = read_picture(dicom(u16([0, 40, 80]), Modality="CT", WindowCenter=0, WindowWidth=9), "x")
    assert render(ct, "brain") == (pytest.approx(np.array([[0, 129, 255]])), CT_WINDOWS["brain"])  # .5/79+.5 -> 129.1
    assert render(ct, Window(center=40.5, width=81))[0].tolist() == [[0, 128, 255]]
    radiograph = read_picture(dicom(u16([0, 40]), Modality="DX", WindowCenter=5, WindowWidth=9), "x")
    assert render(radiograph, "lung")[1] == Window(center=5, width=9)
    with pytest.raises(UsageError, match="auto, lung"):
        render(ct, "kidney")


def test_deep_radiograph_without_window_uses_percentiles_without_padding():
    pixels = np.full((20, 50), 65535, dtype=np.uint16)
    pixels[:, :40] = np.arange(800).reshape(20, 40)
    picture = read_picture(dicom(pixels, Modality="DX", PixelPaddingValue=65535), "x")
    shown, window = render(picture)
    low, high = np.percentile(np.arange(800), [0.5, 99.5])
    assert window == Window(center=(low + high) / 2, width=high - low)
    assert shown[0, 0] == 0
    assert shown[-1, 39] == 255


def test_eight_bits_without_window_are_shown_as_they_are():
    data = dicom(np.array([[3, 200]], dtype=np.uint8))
    assert render(read_picture(data, "x")) == (pytest.approx(np.array([[3, 200]])), None)


def test_constant_picture_renders():
    assert render(read_picture(dicom(u16([7, 7])), "x"))[0].shape == (1, 2)


@pytest.mark.parametrize("width", [0, 0.5, -4])
def test_unusable_window_is_noted_and_not_used(width):
    picture = read_picture(dicom(u16([1, 2]), WindowCenter=1, WindowWidth=width), "x")
    assert picture.window is None
    assert "not valid" in picture.notes[0]


def test_first_of_several_windows():
    picture = read_picture(dicom(u16([1]), WindowCenter=[10, 99], WindowWidth=[5, 7]), "x")
    assert picture.window == Window(center=10, width=5)


def test_color_and_palette_become_rgb():
    rgb = np.array([[[255, 0, 7], [1, 2, 3]]], dtype=np.uint8)
    picture = read_picture(dicom(rgb), "x")
    assert picture.is_color
    assert render(picture)[0].tolist() == rgb.tolist()
    palette = {f"{c}PaletteColorLookupTableDescriptor": [2, 0, 16] for c in ("Red", "Green", "Blue")}
    for color, entries in {"Red": [0, 65535], "Green": [65535, 0], "Blue": [256, 512]}.items():
        palette[f"{color}PaletteColorLookupTableData"] = np.array(entries, "<u2").tobytes()
    data = dicom(np.array([[0, 1]], dtype=np.uint8), PhotometricInterpretation="PALETTE COLOR", **palette)
    assert read_picture(data, "x").values.tolist() == [[[0, 255, 1], [255, 0, 2]]]


def test_equal_channels_are_grey():
    picture = read_picture(dicom(np.full((2, 2, 3), 9, dtype=np.uint8)), "x")
    assert not picture.is_color
    assert picture.values.tolist() == [[9, 9], [9, 9]]
    assert to_gray(np.array([[[255, 0, 0]]], dtype=np.uint8)).tolist() == [[76]]  # 0.299 * 255 = 76.2


def test_header_facts():
    picture = read_picture(
        dicom(
            u16([1]),
            Modality="DX",
            ViewPosition="PA",
            PatientID="P7",
            StudyInstanceUID="1.2",
            PatientName="Never^Read",
            ImagerPixelSpacing=[0.2, 0.3],
            PatientOrientation=["L", "F"],
            BurnedInAnnotation="YES",
        ),
        "x",
    )
    assert (picture.patient_id, picture.study_id, picture.view, picture.plane) == ("P7", "1.2", "PA", "frontal")
    assert picture.spacing_mm == Spacing(row=0.2, col=0.3)
    assert "Imager Pixel Spacing" in picture.notes[0]
    assert picture.left_on_right is True
    assert picture.burned_in is True
    assert "Never" not in repr(picture)


@pytest.mark.parametrize(
    ("cosines", "plane", "left_on_right"),
    [
        ([1, 0, 0, 0, 1, 0], "axial", True),
        ([-1, 0, 0, 0, -1, 0], "axial", False),  # prone, feet first as stored
        ([1, 0, 0, 0, 0, -1], "coronal", True),
        ([0, 1, 0, 0, 0, -1], "sagittal", None),
    ],
)
def test_orientation(cosines, plane, left_on_right):
    spacing = [0.7, 0.9]
    picture = read_picture(dicom(u16([1]), ImageOrientationPatient=cosines, PixelSpacing=spacing), "x")
    assert (picture.plane, picture.left_on_right) == (plane, left_on_right)
    assert picture.spacing_mm == Spacing(row=0.7, col=0.9)


def test_frames_must_be_named():
    data = dicom(np.arange(6, dtype=np.uint16).reshape(3, 1, 2), NumberOfFrames=3)
    with pytest.raises(MedclmError, match="frame=0 … frame=2"):
        read_picture(data, "x")
    assert read_picture(data, "x", frame=2).values.tolist() == [[4, 5]]
    with pytest.raises(MedclmError, match="no such frame"):
        read_picture(data, "x", frame=3)


def test_enhanced_functional_groups_are_per_frame():
    def group(slope: int) -> Dataset:
        transformation, voi, outer = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = slope, -1
        voi.WindowCenter, voi.WindowWidth = slope, 10
        outer.PixelValueTransformationSequence = Sequence([transformation])
        outer.FrameVOILUTSequence = Sequence([voi])
        return outer

    data = dicom(
        np.ones((2, 1, 1), dtype=np.uint16),
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=Sequence([group(5), group(7)]),
    )
    picture = read_picture(data, "x", frame=1)
    assert picture.values.tolist() == [[6]]
    assert picture.window == Window(center=7, width=10)


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


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(st.sampled_from([np.uint16, np.int16, np.uint8, np.int8]), hnp.array_shapes(min_dims=2, max_dims=2)),
    st.integers(-2000, 2000),
    st.integers(1, 9),
)
def test_dicom_round_trip_of_any_depth(pixels, intercept, slope):
    picture = read_picture(dicom(pixels, RescaleSlope=slope, RescaleIntercept=intercept), "x")
    assert np.array_equal(picture.values, pixels.astype(np.float64) * slope + intercept)


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
