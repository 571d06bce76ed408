"""The DeepLesion reader, on rows of the layout of ``DL_info.csv``."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import images as pictures
from medclm.data.readers import hu_offset, read
from medclm.data.readers.deeplesion import read_deeplesion
from medclm.data.records import Spacing
from tests.data.readers.pictures import boxes_of, reasons_of, write_png

HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,Spacing_mm_px_,"
    "Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test"
)


def row(name="000001_01_01_109.png", box="226.169, 90.0204, 241.252, 111.977", kind="3", noisy="0", **other):
    values = {"diameters": "12.0758, 4.30221", "spacing": "0.5, 0.5, 5", "split": "3", **other}
    return (
        f'{name},1,1,1,109,"233.537, 95.0204, 234.057, 106.977, 231.169, 101.605, 236.252, 101.143","{box}",'
        f'"{values["diameters"]}","0.44666, 0.283794, 0.434454",{kind},{noisy},"103, 115","{values["spacing"]}",'
        f'"512, 512","-175, 275",F,62,{values["split"]}'
    )


@pytest.fixture
def deeplesion(tmp_path):
    """Write a table beside two slices and read it."""

    def _read(*rows, **options):
        write_png(tmp_path / "Images_png" / "000001_01_01" / "109.png", (512, 512), 32768 + 40, np.uint16)
        write_png(tmp_path / "Images_png" / "000002_03_01" / "109.png", (512, 512), 32768 + 40, np.uint16)
        (tmp_path / "DL_info.csv").write_text("\n".join([HEADER, *rows]))
        return read_deeplesion(str(tmp_path / "Images_png"), str(tmp_path / "DL_info.csv"), "deeplesion", **options)

    return _read


def test_a_lesion(deeplesion, tmp_path):
    result = deeplesion(row(), row("000002_03_01_109.png", kind="-1", noisy="1", split="1"))
    first, second = result.records
    assert (first.image_id, first.patient_id, first.study_id) == ("000001_01_01_109", "000001", "000001_01")
    assert (first.modality, first.plane, first.split) == ("CT", "axial", "test")
    assert first.spacing_mm == Spacing(row=0.5, col=0.5)
    assert first.source.uri == f"{tmp_path}/Images_png/000001_01_01/109.png"
    (lesion,) = first.findings
    assert (lesion.label_raw, lesion.label, lesion.box_xyxy) == ("3", "lesion", (226.169, 90.0204, 241.252, 111.977))
    assert lesion.attributes == {
        "key_slice": "109",
        "long_diameter_mm": "6.0",
        "short_diameter_mm": "2.2",
        "lesion_type": "mediastinum",
        "possibly_noisy": "no",
        "window_hu": "-175, 275",
    }
    assert (second.patient_id, second.study_id, second.split) == ("000002", "000002_03", "train")
    assert second.findings[0].attributes["lesion_type"] == "unknown"
    assert second.findings[0].attributes["possibly_noisy"] == "yes"
    assert result.incomplete == {"000001_01_01_109", "000002_03_01_109"}
    assert result.rejects == []


def test_bone_is_known_by_its_code(deeplesion):
    assert deeplesion(row(kind="1")).records[0].findings[0].label == "bone lesion"


def test_noisy_lesions_can_be_left_out(deeplesion):
    result = deeplesion(row(), row(box="1, 1, 2, 2", noisy="1"), noisy=False)
    assert len(result.records[0].findings) == 1
    assert result.notes == ("1 possibly noisy lesions were left out",)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"box": "1, 2, 3"}, "bad-box"),
        ({"box": "1, 2, 3, x"}, "bad-box"),
        ({"box": "5, 2, 3, 4"}, "bad-box"),
        ({"diameters": "12"}, "bad-box"),
        ({"kind": "9"}, "bad-annotation"),
        ({"spacing": "0.5, 0.5"}, "bad-row"),
        ({"spacing": "0, 0.5, 5"}, "bad-row"),
        ({"spacing": "0.6, 0.6, 5"}, "bad-row"),
        ({"split": "4"}, "bad-row"),
        ({"split": "1"}, "bad-row"),
    ],
)
def test_a_bad_row_is_set_aside(deeplesion, fault, reason):
    result = deeplesion(row(), row(**{"box": "1, 1, 2, 2", **fault}))
    assert len(result.records[0].findings) == 1
    assert reasons_of(result) == [(reason, "000001_01_01_109", "000001_01_01_109:2")]


def test_images_are_found_by_folder_and_slice_only(deeplesion):
    result = deeplesion(row(), row("000003_01_01_109.png"), row("109.png"))
    assert list(boxes_of(result)) == ["000001_01_01_109"]
    assert reasons_of(result) == [("missing-image", "000003_01_01_109", None), ("bad-row", "109.png", None)]


def test_flat_files(tmp_path):
    write_png(tmp_path / "000001_01_01_109.png", (4, 4))
    (tmp_path / "DL_info.csv").write_text(f"{HEADER}\n{row()}")
    (record,) = read("deeplesion", str(tmp_path), str(tmp_path / "DL_info.csv"), "dl").records
    assert record.source.uri == f"{tmp_path}/000001_01_01_109.png"


def test_stored_values_become_hounsfield_units(deeplesion, tmp_path):
    (record,) = deeplesion(row()).records
    with open(record.source.uri, "rb") as file:
        stored = pictures.read_picture(file.read(), record.source.uri).values
    assert np.unique(stored + hu_offset(record.source.reader)).tolist() == [40]
    assert (hu_offset("coco"), hu_offset("no such reader")) == (None, None)
