"""Image-level labels: both forms of table, what is known absent and what is not."""

from __future__ import annotations

import pytest

from medclm.data.readers import read
from medclm.data.readers.labels import read_labels
from medclm.errors import MedclmError, UsageError

CHEXPERT = {
    "image": "Path",
    "id_parts": 3,
    "labels": ["No Finding", "Lung Opacity", "Edema", "Pleural Effusion", "Odd_Thing"],
    "view": "AP/PA",
    "plane": "Frontal/Lateral",
    "fixed": {"modality": "DX"},
}
HEADER = "Path,Frontal/Lateral,AP/PA,No Finding,Lung Opacity,Edema,Pleural Effusion,Odd_Thing"
ONE, TWO = (f"set/train/patient0000{n}/study1/view1_frontal.jpg" for n in (1, 2))


@pytest.fixture
def table(tmp_path):
    """Write a table and empty images; returns the two addresses."""

    def _table(images, *lines):
        for path in images:
            (tmp_path / "images" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / path).write_bytes(b"")
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
        return str(tmp_path / "images"), str(tmp_path / "labels.csv")

    return _table


@pytest.mark.parametrize(
    ("uncertain", "labels", "absent"),
    [
        ("unknown", ("effusion",), ("opacity",)),
        ("present", ("effusion", "pulmonary edema"), ("opacity",)),
        ("absent", ("effusion",), ("opacity", "pulmonary edema")),
    ],
)
def test_a_column_a_finding(table, uncertain, labels, absent):
    where = table([ONE[4:], TWO[4:]], HEADER, f"{ONE},Frontal,AP,,0.0,-1.0,1.0,", f"{TWO},Frontal,PA,1.0,,,,1")
    result = read_labels(*where, "chexpert", CHEXPERT, uncertain)
    first, second = result.records
    assert (first.image_id, first.plane, first.view, first.modality) == (
        "patient00001_study1_view1_frontal",
        "frontal",
        "AP",
        "DX",
    )
    assert (first.labels, first.labels_absent, first.findings) == (labels, absent, ())
    assert (second.labels, second.labels_absent) == (("odd thing",), ())
    assert result.incomplete == {first.image_id, second.image_id}
    assert (result.rejects, result.notes) == ([], ())


def test_a_list_of_findings(table):
    where = table(
        ["00000001_000.png", "00000001_001.png", "00000002_000.png"],
        "Image Index,Finding Labels,Follow-up #,Patient ID,View Position",
        "00000001_000.png,Cardiomegaly|Infiltration,0,1,PA",
        "00000001_001.png,No Finding,1,1,AP",
        "00000002_000.png,Pleural_Thickening,0,2,PA",
    )
    result = read("nih-labels", *where, "nih")
    assert [(r.patient_id, r.view, r.labels) for r in result.records] == [
        ("00000001", "PA", ("cardiomegaly", "opacity")),
        ("00000001", "AP", ()),
        ("00000002", "PA", ("pleural thickening",)),
    ]
    denied = [("pleural thickening",), ("cardiomegaly", "opacity", "pleural thickening"), ("cardiomegaly", "opacity")]
    assert [r.labels_absent for r in result.records] == denied, "reports were mined for each of the findings"
    assert {(r.modality, r.plane, r.source.reader) for r in result.records} == {("DX", "frontal", "nih-labels")}
    assert result.incomplete == {"00000001_000", "00000002_000"}


def test_a_python_list_that_is_not_complete(table):
    columns = {"image": "ImageID", "listed": "Labels", "patient": "PatientID", "split": "Part"}
    where = table(
        ["a.png", "b.png", "c.png"],
        "ImageID,PatientID,Labels,Part",
        "a.png,7,\"['pleural effusion', 'adenopathy', '']\",val",
        "b.png,8,['normal'],train",
        "c.png,9,['normal',train",
    )
    result = read_labels(*where, "padchest", columns)
    assert [(r.patient_id, r.split, r.labels, r.labels_absent) for r in result.records] == [
        ("7", "validate", ("effusion", "lymphadenopathy"), ()),
        ("8", "train", (), ()),
        ("9", "train", (), ()),
    ]
    assert [(r.reason, r.image_id, r.where) for r in result.rejects] == [("bad-row", "c", "labels.csv: row 3")]
    assert result.incomplete == {"a", "b", "c"}
    assert result.notes == ("the table says of no image what is absent: no question has the answer no",)


def test_published_tables_by_their_own_names(table):
    names = "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation"
    names += ",Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
    where = table([ONE[4:]], f"Path,Sex,Age,Frontal/Lateral,AP/PA,{names}", f"{ONE},M,9,Lateral,,,0,,,,-1,,,,,,,,1")
    (record,) = read("chexpert", *where, "any", {"uncertain": "absent"}).records
    assert (record.patient_id, record.plane, record.view) == ("patient00001", "lateral", "")
    assert (record.labels, record.labels_absent) == (("support device",), ("mediastinal widening", "pulmonary edema"))

    study = [f"p10/p10000032/s50414267/{name}" for name in ("x.jpg", "y.jpg", "index.html")]
    where = table(study, f"subject_id,study_id,{names}", "10000032,50414267,,,1,,,,,,,,0,,,", "1,2,1,,,,,,,,,,,,,")
    result = read("mimic-cxr", *where, "any")
    assert [(r.image_id, r.patient_id, r.study_id, r.labels, r.labels_absent) for r in result.records] == [
        ("x", "10000032", "50414267", ("cardiomegaly",), ("effusion",)),
        ("y", "10000032", "50414267", ("cardiomegaly",), ("effusion",)),
    ]
    assert [(r.reason, r.where) for r in result.rejects] == [("missing-image", "labels.csv: row 2")]

    columns = "ImageID,StudyID,PatientID,Projection,Labels"
    rows = (
        "a.png,s,p,PA,\"['alveolar pattern']\"",
        "b.png,s,p,PA,['normal']",
        "c.png,s,p,PA,\"['normal','scoliosis']\"",
    )
    record, normal, other = read("padchest", *table(["a.png", "b.png", "c.png"], columns, *rows), "any").records
    assert (record.patient_id, record.study_id, record.view, record.labels) == ("p", "s", "PA", ("opacity",))
    assert (record.labels_absent, normal.labels_absent) == ((), ("opacity", "scoliosis"))
    assert (other.labels, other.labels_absent) == (("scoliosis",), ()), "normal but for something denies nothing"


def test_words_that_are_no_findings_are_left_out(table):
    columns = {"image": "ImageID", "listed": "Labels"}
    lines = ("ImageID,Labels", "a.png,\"['unchanged', 'nodule']\"", "b.png,\"['exclude']\"")
    result = read_labels(*table(["a.png", "b.png"], *lines), "padchest", columns)
    assert [record.labels for record in result.records] == [("nodule",), ()]
    assert result.notes[1:] == ("labels left out that are no findings: exclude (1), unchanged (1)",)


def test_contradictions_are_unknown_and_wrong_cells_set_aside(table):
    columns = {"image": "file", "labels": ["Edema", "Mass"]}
    where = table(
        ["a.png", "b.png"], "file,Edema,Mass", "a.png,1,0", "a.png,0,0", "b.png,1,maybe", "gone.png,1,1", ",1,1"
    )
    result = read_labels(*where, "toy", columns)
    assert [(r.image_id, r.labels, r.labels_absent) for r in result.records] == [("a", (), ("mass",)), ("b", (), ())]
    assert [(r.reason, r.image_id) for r in result.rejects] == [
        ("bad-row", "b"),
        ("missing-image", "gone"),
        ("bad-row", ""),
    ]
    assert result.notes == ("1 images have a label both present and absent; it counts as unknown",)


def test_usage(table):
    where = table(["a.png"], "file,Edema", "a.png,1")
    with pytest.raises(UsageError, match="no such reading of -1"):
        read_labels(*where, "toy", {"image": "file", "labels": ["Edema"]}, "maybe")
    with pytest.raises(MedclmError, match="lacks the column 'Mass'"):
        read_labels(*where, "toy", {"image": "file", "labels": ["Edema", "Mass"]})
