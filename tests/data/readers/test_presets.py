"""Published chest radiograph tables: NIH's real list, VinDr-CXR's and RSNA's layouts."""

from __future__ import annotations

import csv
import gzip
from collections import Counter

import pytest

from medclm.data.readers.presets import read_nih, read_rsna, read_vindr
from medclm.errors import MedclmError
from tests.data.readers.pictures import boxes_of, reasons_of, write_png


def test_the_real_nih_list(real_data, tmp_path):
    path = real_data("nih-bbox") / "BBox_List_2017.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = list(csv.reader(file))[1:]
    write_png(tmp_path / "one.png", (1, 1))
    for name in {row[0] for row in rows}:
        (tmp_path / name).hardlink_to(tmp_path / "one.png")
    result = read_nih(str(tmp_path), str(path), "nih")
    assert (len(result.records), result.rejects, result.notes) == (880, [], ())
    assert result.incomplete == {record.image_id for record in result.records}
    findings = [finding for record in result.records for finding in record.findings]
    assert len(findings) == 984
    assert Counter(finding.label_raw for finding in findings) == {
        "Atelectasis": 180, "Cardiomegaly": 146, "Effusion": 153, "Infiltrate": 123,
        "Mass": 85, "Nodule": 79, "Pneumonia": 120, "Pneumothorax": 98,
    }  # fmt: skip
    assert {f.label for f in findings if f.label_raw == "Infiltrate"} == {"opacity"}
    first = result.records[0]
    assert (first.image_id, first.patient_id, first.modality, first.plane) == (
        "00013118_008",
        "00013118",
        "DX",
        "frontal",
    )
    assert first.findings[0].box_xyxy == pytest.approx((225.0847, 547.0192, 311.8644, 626.2056), abs=1e-3)
    expected = Counter((row[0][:-4], row[1], float(row[2]), float(row[3])) for row in rows)
    assert Counter((r.image_id, f.label_raw, *f.box_xyxy[:2]) for r in result.records for f in r.findings) == expected


def test_nih_in_its_other_form(tmp_path):
    """The list as NIH publishes it has three empty cells at the end of each row."""
    write_png(tmp_path / "00000032_037.png", (1024, 1024))
    path = tmp_path / "b.csv"
    path.write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000032_037.png,Infiltrate,1,2,3,4,,,\n")
    assert boxes_of(read_nih(str(tmp_path), str(path), "nih")) == {"00000032_037": [("Infiltrate", (1, 2, 4, 6))]}


VINDR = """image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max
aa,No finding,14,R1,,,,
aa,No finding,14,R2,,,,
aa,No finding,14,R3,,,,
bb,Cardiomegaly,3,R1,100,200,300,300
bb,Cardiomegaly,3,R2,110,200,310,300
bb,Cardiomegaly,3,R3,105,200,320,300
bb,Nodule/Mass,8,R3,10,10,20,20
cc,Pleural effusion,10,R8,0,0,10,10
cc,No finding,14,R9,,,,
cc,Pleural effusion,10,R10,0,0,10,x
"""


@pytest.fixture
def vindr(tmp_path):
    for name in ("aa", "bb", "cc"):
        write_png(tmp_path / "images" / f"{name}.png", (400, 400))
    (tmp_path / "train.csv").write_text(VINDR)
    return lambda **options: read_vindr(str(tmp_path / "images"), str(tmp_path / "train.csv"), "vindr", **options)


def test_vindr_by_majority(vindr):
    result = vindr()
    assert boxes_of(result) == {"aa": [], "bb": [("Cardiomegaly", (105, 200, 310, 300))], "cc": []}
    assert reasons_of(result) == [("bad-box", "cc", "cc:10")]
    assert result.incomplete == {"bb", "cc"}  # the nodule of one reader, the effusion of one of three
    assert result.records[1].findings[0].attributes == {"readers": "3", "readers_of_image": "3"}
    assert {(r.modality, r.plane, r.source.reader) for r in result.records} == {("DX", "frontal", "vindr")}


def test_vindr_all_and_fused(vindr):
    every = vindr(consensus="all")
    assert [len(record.findings) for record in every.records] == [0, 4, 1]
    assert [f.attributes["reader"] for f in every.records[1].findings] == ["R1", "R2", "R3", "R3"]
    assert every.records[1].findings[3].label == "nodule"
    assert every.incomplete == {"bb", "cc"}
    fused = vindr(consensus="wbf")
    assert boxes_of(fused)["bb"] == [("Cardiomegaly", (105, 200, 310, 300)), ("Nodule/Mass", (10, 10, 20, 20))]
    assert fused.incomplete == {"cc"}


def test_vindr_test_part_has_no_reader(tmp_path, vindr):
    text = "image_id,class_name,x_min,y_min,x_max,y_max\naa,Mass,1,2,3,4\nbb,No finding,,,,\n"
    (tmp_path / "train.csv").write_text(text)
    result = vindr()
    assert (boxes_of(result), result.incomplete) == ({"aa": [("Mass", (1, 2, 3, 4))], "bb": []}, frozenset())


def test_rsna(tmp_path):
    for name in ("p0", "p1"):
        write_png(tmp_path / "images" / f"{name}.png", (1024, 1024))
    text = "patientId,x,y,width,height,Target\np0,,,,,0\np1,264.0,152.0,213.0,379.0,1\np1,562.0,152.0,256.0,453.0,1\n"
    (tmp_path / "t.csv").write_text(text)
    result = read_rsna(str(tmp_path / "images"), str(tmp_path / "t.csv"), "rsna")
    assert boxes_of(result) == {
        "p0": [],
        "p1": [("Lung Opacity", (264, 152, 477, 531)), ("Lung Opacity", (562, 152, 818, 605))],
    }
    assert {f.label for f in result.records[1].findings} == {"opacity"}
    assert (result.rejects, result.incomplete) == ([], frozenset())
    renamed = read_rsna(str(tmp_path / "images"), str(tmp_path / "t.csv"), "rsna", label="Pneumonia")
    assert renamed.records[1].findings[0].label == "pneumonia"


def test_another_table(tmp_path):
    (tmp_path / "t.csv").write_text("patientId,class\n")
    with pytest.raises(MedclmError, match="lacks the columns") as caught:
        read_rsna(str(tmp_path), str(tmp_path / "t.csv"), "rsna")
    assert caught.value.details["got"] == "patientId, class"
