"""The Pascal VOC reader."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from medclm.data.readers.voc import read_voc
from medclm.errors import MedclmError
from tests.data.readers.pictures import boxes_of, reasons_of, write_png

OBJECT = """<object><name>{name}</name><pose>{pose}</pose><truncated>{truncated}</truncated><difficult>0</difficult>
<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>{more}</object>"""
DEFAULTS = {"name": "Nodule", "pose": "Left", "truncated": 1, "xmin": 3, "ymin": 2, "xmax": 5, "ymax": 8, "more": ""}


@pytest.fixture
def read(tmp_path):
    """Write one VOC file of a 20 x 10 picture for some objects and read it."""

    def _read(*objects, filename="a.png", size="<size><width>20</width><height>10</height></size>", **options):
        write_png(tmp_path / "images" / "a.png", (10, 20))
        (tmp_path / "xml").mkdir(exist_ok=True)
        text = "".join(OBJECT.format(**{**DEFAULTS, **values}) for values in objects)
        (tmp_path / "xml" / "a.xml").write_text(f"<annotation><filename>{filename}</filename>{size}{text}</annotation>")
        return read_voc(str(tmp_path / "images"), str(tmp_path / "xml"), "toy", **options)

    return _read


def test_pixels_from_one_with_both_ends_inside(read, tmp_path):
    result = read({}, {"name": "Odd thing", "xmin": 1, "ymin": 1, "xmax": 20, "ymax": 10})
    assert boxes_of(result) == {"a": [("Nodule", (2, 1, 5, 8)), ("Odd thing", (0, 0, 20, 10))]}
    assert (result.rejects, result.incomplete, result.notes) == ([], frozenset(), ())
    (record,) = result.records
    assert record.source.uri == f"{tmp_path}/images/a.png"
    assert (record.patient_id, record.source.reader) == ("a", "voc")
    first = record.findings[0]
    assert (first.id, first.label) == ("a:1", "nodule")
    assert first.attributes == {"pose": "Left", "truncated": "yes", "difficult": "no"}


def test_edges_from_zero(read):
    result = read({"xmin": 0, "ymin": 0.5, "xmax": 20}, one_based=False)
    assert boxes_of(result) == {"a": [("Nodule", (0, 0.5, 20, 8))]}
    assert result.notes == ()


def test_a_box_from_zero_gives_the_convention_away(read):
    result = read({"xmin": 0}, {})
    assert boxes_of(result)["a"] == [("Nodule", (0, 1, 5, 8)), ("Nodule", (2, 1, 5, 8))]
    assert result.notes[0] == "box of finding a:1 stuck out by 1 px and was clipped"
    assert result.notes[1].startswith("1 boxes start below pixel 1")
    assert "one_based=false" in result.notes[1]


def test_a_pixel_wide_box(read):
    assert boxes_of(read({"xmin": 4, "xmax": 4, "ymin": 5, "ymax": 5})) == {"a": [("Nodule", (3, 4, 4, 5))]}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"xmin": 6}, "bad-box"),
        ({"xmin": "x"}, "bad-box"),
        ({"ymax": ""}, "bad-box"),
        ({"ymax": "nan"}, "bad-box"),
        ({"xmax": 22}, "box-outside"),
        ({"xmin": -1}, "box-outside"),
        ({"name": " "}, "bad-annotation"),
    ],
)
def test_a_bad_object_is_set_aside(read, values, reason):
    result = read({"ymax": 9}, values)
    assert boxes_of(result) == {"a": [("Nodule", (2, 1, 5, 9))]}
    assert reasons_of(result) == [(reason, "a", "a:2")]
    assert result.rejects[0].where == "a.xml: object 2"
    assert result.incomplete == {"a"}


def test_a_repeated_object_leaves_the_image_complete(read):
    result = read({}, {})
    assert (len(result.records[0].findings), reasons_of(result)) == (1, [("duplicate-annotation", "a", "a:2")])
    assert result.incomplete == frozenset()


def test_no_object_is_an_image_without_findings(read):
    result = read()
    assert (boxes_of(result), result.incomplete) == ({"a": []}, frozenset())


def test_attributes_of_other_programs(read):
    more = (
        "<occluded>1</occluded><attributes><attribute><name>margin</name><value>sharp</value></attribute></attributes>"
    )
    (finding,) = read({"more": more, "pose": "Unspecified", "truncated": ""}).records[0].findings
    assert finding.attributes == {"occluded": "yes", "difficult": "no", "margin": "sharp"}


@pytest.mark.parametrize("filename", ["", "old/place/a.jpg", "a", "other.png", "C:\\data\\a.png", "x/a.png"])
def test_the_image_is_found_by_the_name_or_by_the_stem_of_the_file(read, filename):
    assert list(boxes_of(read({}, filename=filename))) == ["a"]


def test_an_unknown_size_is_checked_when_the_image_is_decoded(read):
    result = read({"xmax": 500}, size="<size><width>0</width><height>0</height></size>")
    assert boxes_of(result) == {"a": [("Nodule", (2, 1, 500, 8))]}


def test_bad_files_are_set_aside_one_by_one(read, tmp_path):
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "b.xml").write_text("<annotation><filename>b.png")
    (tmp_path / "xml" / "c.xml").write_text("<html></html>")
    (tmp_path / "xml" / "d.xml").write_text("<annotation><filename>d.png</filename></annotation>")
    (tmp_path / "xml" / "e.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    (tmp_path / "xml" / "._a.xml").write_bytes(b"\0\5")
    result = read({})
    assert list(boxes_of(result)) == ["a"]
    assert reasons_of(result) == [
        ("bad-image-entry", "b", None),
        ("bad-image-entry", "c", None),
        ("missing-image", "d", None),
        ("duplicate-image", "e", None),
    ]


def test_nothing_to_read(tmp_path):
    with pytest.raises(MedclmError, match="no Pascal VOC file"):
        read_voc(str(tmp_path), str(tmp_path), "toy")
    with pytest.raises(MedclmError, match="no such image folder"):
        read_voc(str(tmp_path), str(tmp_path / "none"), "toy")


def test_blood_cells(real_data):
    """Every box of the folder as the dataset's own CSV has it: real VOC, counted from 1 up to the picture's size."""
    folder = real_data("bccd-40")
    result = read_voc(str(folder), str(folder), "bccd")
    assert (len(result.records), result.rejects, result.notes) == (40, [], ())
    with (folder / "test.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (folder / row["filename"]).exists()]
    expected = Counter()
    for row in rows:
        x1, y1, x2, y2 = (int(row[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
        expected[row["filename"][:-4], row["cell_type"], x1 - 1, y1 - 1, x2, y2] += 1
    found = Counter((r.image_id, f.label_raw, *f.box_xyxy) for r in result.records for f in r.findings)
    assert found == expected
    assert Counter(f.label_raw for r in result.records for f in r.findings) == {"RBC": 687, "Platelets": 54, "WBC": 43}
    edges = [f.box_xyxy for r in result.records for f in r.findings]
    assert min(b[0] for b in edges) == min(b[1] for b in edges) == 0
    assert (max(b[2] for b in edges), max(b[3] for b in edges)) == (640, 480)
