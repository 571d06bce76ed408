"""CSV tables by a column map."""

from __future__ import annotations

import pytest

from medclm.data.readers.table import ColumnMap, read_table
from medclm.errors import MedclmError
from tests.data.readers.pictures import boxes_of, reasons_of, write_png

CORNERS = {"image": "image", "label": "label", "x1": "x1", "y1": "y1", "x2": "x2", "y2": "y2"}
HEADER = "image,label,x1,y1,x2,y2"


@pytest.fixture
def read(tmp_path):
    """Write a table of pictures a, b and read it."""

    def _read(rows, header=HEADER, columns=CORNERS, **options):
        for name in "ab":
            write_png(tmp_path / "images" / f"{name}.png", (10, 20))
        (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
        return read_table(str(tmp_path / "images"), str(tmp_path / "t.csv"), "toy", columns, **options)

    return _read


def test_rows_become_findings_in_the_order_of_the_images(read, tmp_path):
    result = read(["b.png,Odd_Thing,0.5,0,2,2", "a,Pleural effusion,2,3,6,8", "b.png,Nodule,1,1,3,3"])
    assert boxes_of(result) == {
        "b": [("Odd_Thing", (0.5, 0, 2, 2)), ("Nodule", (1, 1, 3, 3))],
        "a": [("Pleural effusion", (2, 3, 6, 8))],
    }
    assert (result.rejects, result.incomplete, result.notes) == ([], frozenset(), ())
    (finding,) = result.records[1].findings
    assert (finding.id, finding.label, finding.source, finding.attributes) == ("a:2", "effusion", "csv", {})
    assert result.records[1].source.uri == f"{tmp_path}/images/a.png"


def test_every_column(read):
    columns = {
        "image": "file", "label": "what", "x": "left", "y": "top", "w": "w", "h": "h", "width": "W", "height": "H",
        "patient": "pid", "study": "sid", "view": "view", "modality": "mod", "split": "set", "rater": "who",
        "attributes": ["margin", "rating"], "fixed": {"plane": "frontal"},
    }  # fmt: skip
    header = "file,what,left,top,w,h,W,H,pid,sid,view,mod,set,who,margin,rating"
    (record,) = read(["a.png,Mass,2,3,4,5,20,10,p1,s1,PA,DX,val,R7,sharp,"], header, columns).records
    assert (record.patient_id, record.study_id, record.view, record.modality) == ("p1", "s1", "PA", "DX")
    assert (record.split, record.plane) == ("validate", "frontal")
    (finding,) = record.findings
    assert finding.box_xyxy == (2, 3, 6, 8)
    assert finding.attributes == {"margin": "sharp", "reader": "R7"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.png,Mass,2,3,x,8", "bad-box"),
        ("a.png,Mass,2,3,,8", "bad-box"),
        ("a.png,Mass,2,3,inf,8", "bad-box"),
        ("a.png,Mass,2,3,2,8", "bad-box"),
        ("a.png,,2,3,6,8", "bad-annotation"),
        ("a.png,Mass,2,3,6", "bad-row"),
    ],
)
def test_a_bad_row_is_set_aside(read, row, reason):
    result = read(["a.png,Mass,1,1,2,2", row, "b.png,Mass,1,1,2,2"])
    assert [len(record.findings) for record in result.records] == [1, 1]
    assert reasons_of(result) == [(reason, "a", "a:2")]
    assert result.rejects[0].where == "t.csv: row 2"
    assert result.incomplete == {"a"}


def test_boxes_are_checked_where_the_size_is_known(read):
    columns = {**CORNERS, "width": "w", "height": "h"}
    result = read(["a,Mass,1,1,21,2,20,10", "a,Mass,1,1,23,2,20,10"], HEADER + ",w,h", columns)
    assert boxes_of(result) == {"a": [("Mass", (1, 1, 20, 2))]}
    assert reasons_of(result) == [("box-outside", "a", "a:2")]
    assert result.notes == ("box of finding a:1 stuck out by 1 px and was clipped",)


def test_rows_without_an_image(read):
    result = read(
        ["c.png,Mass,1,1,2,2", "c.png,Mass,1,1,3,3", ",Mass,1,1,2,2", "1.2.840.5,Mass,1,1,2,2", "a,Mass,1,1,2,2"]
    )
    assert list(boxes_of(result)) == ["a"]
    assert reasons_of(result) == [
        ("missing-image", "c", None),
        ("bad-row", "", None),
        ("missing-image", "1.2.840.5", None),
    ]


def test_nothing_found_and_labels_without_a_place(read):
    rows = ["a.png,No finding,,,,", "b.png,Pneumonia,,,,", "b.png,Mass,1,1,2,2", "b.png,Pneumonia,nan,NaN,,"]
    result = read(rows)
    assert boxes_of(result) == {"a": [], "b": [("Mass", (1, 1, 2, 2))]}
    assert [record.labels for record in result.records] == [(), ("pneumonia",)]
    assert (result.rejects, result.incomplete) == ([], frozenset())


def test_words_for_nothing(read):
    result = read(["a.png,clean,,,,", "b.png,clean,1,1,2,2"], columns={**CORNERS, "no_finding": ["clean"]})
    assert boxes_of(result) == {"a": [], "b": []}


@pytest.mark.parametrize("word", ["None", "Normal", "no_finding"])
def test_common_words_for_nothing(read, word):
    result = read([f"a.png,{word},,,,"])
    assert (boxes_of(result), result.records[0].labels, result.rejects) == ({"a": []}, (), [])


def test_a_presence_column(read):
    columns = {**CORNERS, "present": "there"}
    result = read(["a.png,Mass,,,,,0", "b.png,Mass,1,1,2,2,1"], HEADER + ",there", columns)
    assert boxes_of(result) == {"a": [], "b": [("Mass", (1, 1, 2, 2))]}


def test_a_contradiction_leaves_the_image_incomplete(read):
    result = read(["a.png,No finding,,,,", "a.png,Mass,1,1,2,2"])
    assert (boxes_of(result), result.incomplete) == ({"a": [("Mass", (1, 1, 2, 2))]}, {"a"})


def test_rows_that_disagree_about_their_image(read):
    columns = {**CORNERS, "patient": "p"}
    result = read(["a.png,Mass,1,1,2,2,p1", "a.png,Mass,1,1,3,3,p2", "a.png,Mass,1,1,4,4,"], HEADER + ",p", columns)
    assert (result.records[0].patient_id, len(result.records[0].findings)) == ("p1", 2)
    assert reasons_of(result) == [("bad-row", "a", "a:2")]
    assert "'p1' elsewhere and 'p2' here" in result.rejects[0].detail


def test_an_unknown_split(read):
    result = read(["a.png,Mass,1,1,2,2,fold3"], HEADER + ",s", {**CORNERS, "split": "s"})
    assert reasons_of(result) == [("bad-row", "a", "a:1")]


def test_patients_from_file_names(read):
    result = read(["a.png,Mass,1,1,2,2"], columns={**CORNERS, "patient_pattern": "([a-z])"})
    assert result.records[0].patient_id == "a"


def test_positives_only(read):
    assert read(["a.png,Mass,1,1,2,2"], positives_only=True).incomplete == {"a"}


SEVERAL = [
    "a,Mass,0,0,10,1,R1",
    "a,Mass,2,0,12,1,R2",
    "a,Cyst,0,0,5,5,R3",
    "b,No finding,,,,,R1",
    "b,No finding,,,,,R2",
]


@pytest.mark.parametrize(
    ("consensus", "expected", "incomplete"),
    [
        ("all", [("Mass", (0, 0, 10, 1)), ("Mass", (2, 0, 12, 1)), ("Cyst", (0, 0, 5, 5))], {"a"}),
        ("majority", [("Mass", (1, 0, 11, 1))], {"a"}),
        ("wbf", [("Mass", (1, 0, 11, 1)), ("Cyst", (0, 0, 5, 5))], set()),
    ],
)
def test_several_readers(read, consensus, expected, incomplete):
    result = read(SEVERAL, HEADER + ",who", {**CORNERS, "rater": "who"}, consensus=consensus)
    assert boxes_of(result) == {"a": expected, "b": []}
    assert result.incomplete == incomplete
    notes = (
        ("1 findings that half of an image's readers or fewer marked were left out",) if consensus == "majority" else ()
    )
    assert result.notes == notes


@pytest.mark.parametrize("consensus", ["all", "majority", "wbf"])
def test_a_row_of_nobody(read, consensus):
    rows = ["a,Mass,0,0,10,1,R1", "a,Mass,0,0,10,1,", "b,No finding,,,,,"]
    result = read(rows, HEADER + ",who", {**CORNERS, "rater": "who"}, consensus=consensus)
    assert boxes_of(result) == {"a": [("Mass", (0, 0, 10, 1))], "b": []}
    assert reasons_of(result) == [("bad-row", "a", "a:2"), ("bad-row", "b", "b:3")]
    assert result.incomplete == {"a", "b"}


def test_an_attribute_that_is_called_reader(read):
    result = read(["a,Mass,0,0,10,1,R1"], HEADER + ",reader", {**CORNERS, "attributes": ["reader"]})
    assert result.records[0].findings[0].attributes == {"reader": "R1"}


@pytest.mark.parametrize(
    "change",
    [
        {"x1": ""}, {"x": "x"}, {"label": ""}, {"fixed": {"label": "a"}}, {"width": "w"}, {"colour": "c"},
        {"patient_pattern": "a"}, {"patient_pattern": "("}, {"image": None}, {"image": ""},
        {"fixed": {"organ": "lung"}},
    ],
)  # fmt: skip
def test_unusable_maps(read, change):
    with pytest.raises(MedclmError, match="column map is wrong") as caught:
        read([], columns={**CORNERS, **change})
    assert caught.value.exit_code == 2


def test_other_bad_usage(read):
    with pytest.raises(MedclmError, match="column map is wrong"):
        read([], columns=None)
    with pytest.raises(MedclmError, match="no such consensus"):
        read([], consensus="mean")
    with pytest.raises(MedclmError, match="who marked"):
        read([], consensus="wbf")
    with pytest.raises(MedclmError, match="lacks the column 'other'"):
        read([], columns={**CORNERS, "label": "other"})


def test_a_map_knows_its_columns():
    columns = ColumnMap(image="i", x="x", y="y", w="w", h="h", fixed={"label": "Mass"}, attributes=("q",))
    assert columns.columns == ["i", "x", "y", "w", "h", "q"]
