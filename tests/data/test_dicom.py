"""DICOM headers to pictures, with values worked out by hand: modality units, colour, orientation, frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.sequence import Sequence

from medclm.data.display import Display
from medclm.data.images import read_picture, render
from medclm.data.records import Spacing, Window
from tests.data.dicom_bytes import dicom, group, lut_item, u16


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
    assert picture.display == Display()
    assert picture.burned_in is True
    assert "Never" not in repr(picture)


@pytest.mark.parametrize(
    ("cosines", "plane", "display"),
    [
        ([1, 0, 0, 0, 1, 0], "axial", ""),
        ([-1, 0, 0, 0, -1, 0], "axial", "flip-rows+flip-cols"),  # prone
        ([1, 0, 0, 0, 0, -1], "coronal", ""),
        ([0, 1, 0, 0, 0, -1], "sagittal", ""),
        ([0, 1, 0, 1, 0, 0], "axial", "transpose"),
        ([0.96, 0.28, 0, -0.28, 0.96, 0], "axial", ""),  # 16 degrees about the axis of the body
    ],
)
def test_orientation(cosines, plane, display):
    spacing = [0.7, 0.9]
    picture = read_picture(dicom(u16([1]), ImageOrientationPatient=cosines, PixelSpacing=spacing), "x")
    assert (picture.plane, picture.display.text) == (plane, display)
    assert picture.spacing_mm == Spacing(row=0.7, col=0.9), "of the stored picture"


@pytest.mark.parametrize(
    ("header", "display"),
    [
        ({"PatientOrientation": ["R", "F"]}, Display(flip_cols=True)),
        ({"PatientOrientation": ["L", "H"]}, Display(flip_rows=True)),
        ({"PatientOrientation": "R"}, Display(flip_cols=True)),
        ({"PatientOrientation": ["A", "FL"], "Modality": "MG"}, None),
        ({"PatientOrientation": ["L", "R"]}, None),
        ({"PatientOrientation": ""}, None),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, None),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0], "PatientOrientation": ["R", "F"]}, Display(flip_cols=True)),
        ({}, None),
    ],
)
def test_orientation_of_radiographs_and_headers_that_do_not_say(header, display):
    picture = read_picture(dicom(u16([1]), **header), "x")
    assert (picture.plane, picture.display) == ("", display)


def test_enhanced_functional_groups_are_per_frame():
    """Two frames with a rescale, window, orientation and spacing of their own; the shared group fills what is left."""
    first = group(
        PixelValueTransformationSequence={"RescaleSlope": 5, "RescaleIntercept": -1},
        FrameVOILUTSequence={"WindowCenter": 5, "WindowWidth": 10},
        PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    )
    second = group(
        PixelValueTransformationSequence={"RescaleSlope": 7, "RescaleIntercept": -2},
        FrameVOILUTSequence={"WindowCenter": [7, 90], "WindowWidth": [10, 5], "VOILUTFunction": "LINEAR_EXACT"},
        PlaneOrientationSequence={"ImageOrientationPatient": [-1, 0, 0, 0, 0, -1]},
        PixelMeasuresSequence={"PixelSpacing": [3, 4]},
    )
    data = dicom(
        np.array([[[1, 2]], [[1, 2]]], dtype=np.uint16),
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=Sequence([group(PixelMeasuresSequence={"PixelSpacing": [1, 2]})]),
        PerFrameFunctionalGroupsSequence=Sequence([first, second]),
    )
    one, two = (read_picture(data, "x", frame=frame) for frame in (0, 1))
    assert (one.values.tolist(), two.values.tolist()) == ([[4, 9]], [[5, 12]])
    assert (one.window, two.window) == (Window(center=5, width=10), Window(center=7, width=10))
    assert (one.window_function, two.window_function) == ("LINEAR", "LINEAR_EXACT")
    assert (one.plane, two.plane) == ("axial", "coronal")
    assert (one.display.text, two.display.text) == ("", "flip-cols")
    assert (one.spacing_mm, two.spacing_mm) == (Spacing(row=1, col=2), Spacing(row=3, col=4))
    # frame 1: (5 - 7) / 10 + 0.5 = 0.3 -> 76.5 -> 77, (12 - 7) / 10 + 0.5 = 1; then mirrored
    assert render(two)[0].tolist() == [[255, 77]]


def test_a_frame_without_groups_of_its_own_takes_the_shared_ones():
    shared = group(PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": 1})
    frames = np.array([[[1]], [[2]]], dtype=np.uint16)
    data = dicom(frames, NumberOfFrames=2, SharedFunctionalGroupsSequence=Sequence([shared]))
    assert read_picture(data, "x", frame=1).values.tolist() == [[5]]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(st.sampled_from([np.uint16, np.int16, np.uint8, np.int8]), hnp.array_shapes(min_dims=2, max_dims=2)),
    st.integers(-2000, 2000),
    st.integers(1, 9),
)
def test_dicom_round_trip_of_any_depth(pixels, intercept, slope):
    picture = read_picture(dicom(pixels, RescaleSlope=slope, RescaleIntercept=intercept), "x")
    assert np.array_equal(picture.values, pixels.astype(np.float64) * slope + intercept)
