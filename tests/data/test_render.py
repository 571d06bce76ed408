"""The display chain with values worked out by hand: VOI LUT, windows, inversion, 8 bits, and the turn at the end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydicom.sequence import Sequence

from medclm.data.images import CT_WINDOWS, apply_window, read_picture, render
from medclm.data.records import Window
from medclm.errors import UsageError
from tests.data.dicom_bytes import dicom, lut_item, u16


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


def test_the_picture_is_turned_last():
    grey = dicom(u16([1, 2, 3], [4, 5, 6]).astype(np.uint8), ImageOrientationPatient=[0, 1, 0, -1, 0, 0])
    shown, _ = render(read_picture(grey, "x"))
    assert shown.tolist() == [[4, 1], [5, 2], [6, 3]]  # transposed, then mirrored
    assert shown.flags["C_CONTIGUOUS"]
    color = dicom(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8), PatientOrientation=["R", "F"])
    assert render(read_picture(color, "x"))[0].tolist() == [[[4, 5, 6], [1, 2, 3]]]


def test_values_that_are_no_number_are_black():
    picture = read_picture(dicom(u16([0, 40, 80]), Modality="CT"), "x")
    picture = dataclasses.replace(picture, values=np.array([[np.nan, 40, 80]], np.float32))
    assert render(picture, Window(center=40.5, width=81))[0].tolist() == [[0, 128, 255]]


def test_the_window_that_was_used_has_the_name_of_its_preset_only():
    ct = read_picture(dicom(u16([0, 40, 80]), Modality="CT", WindowCenter=40, WindowWidth=80), "x")
    assert render(ct, "brain")[1] == Window(center=40, width=80, name="brain")
    assert render(ct)[1] == Window(center=40, width=80)
    assert render(dataclasses.replace(ct, window=None))[1].name == "mediastinum"
