"""Plain VQA sources: what is kept of each layout, splits that share no image, repetitions, SLAKE's boxes."""

from __future__ import annotations

import json

import pytest

from medclm.data import verify
from medclm.data.questions import Catalogue, ask
from medclm.data.readers import read
from medclm.data.readers.vqa import read_vqa
from medclm.errors import MedclmError, UsageError


def rad(name="a.jpg", question="Is it normal?", answer="Yes", kind="CLOSED", **more):
    return {"image_name": name, "question": question, "answer": answer, "answer_type": kind, **more}


def slake(number, question, answer, language="en", kind="OPEN", **more):
    row = {"img_name": f"xmlab{number}/source.jpg", "question": question, "answer": answer, "answer_type": kind}
    return {**row, "q_lang": language, "modality": "X-Ray", **more}


@pytest.fixture
def folder(tmp_path):
    """Write images (paths) and question files (rows by name) of one dataset; returns its two addresses."""

    def _folder(images, **files):
        for path in images:
            (tmp_path / "images" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / path).write_bytes(b"")
        (tmp_path / "qas").mkdir(exist_ok=True)
        for name, rows in files.items():
            (tmp_path / "qas" / f"{name}.json").write_text(json.dumps(rows))
        return str(tmp_path / "images"), str(tmp_path / "qas")

    return _folder


def test_one_record_an_image_with_its_questions_as_published(folder):
    rows = [
        rad(kind="CLOSED ", answer=" Yes "),
        rad("b.jpg", "How many masses?", 2, "OPEN"),
        rad(question=" Right or left? ", answer="left", kind="OPEN"),
    ]
    images, qas = folder(["a.jpg", "b.jpg"], trainset=rows)
    result = read("vqa-rad", images, qas, "rad")
    first, second = result.records
    assert [(q.id, q.question, q.answer, q.closed) for q in first.questions] == [
        ("a:q0", "Is it normal?", "Yes", True),
        ("a:q1", "Right or left?", "left", False),
    ]
    assert [(q.id, q.answer) for q in second.questions] == [("b:q0", "2")]
    assert {(q.type, q.generator, q.difficulty, q.choices) for q in first.questions} == {("vqa", "source", 1, None)}
    assert (first.image_id, first.patient_id, first.split, first.findings) == ("a", "a", "train", ())
    assert (first.source.uri, first.source.reader) == (f"{images}/a.jpg", "vqa-rad")
    assert (result.rejects, result.incomplete) == ([], {"a", "b"})
    assert result.notes == ("3 questions of 2 images were kept",)
    assert verify.check(first, first.questions[1]) == (verify.CHECKS, None)  # it offers its answer, as published


def test_an_image_of_two_splits_goes_to_the_held_out_one(folder):
    images, qas = folder(["a.jpg", "b.jpg"], trainset=[rad(), rad("b.jpg")], testset=[rad(question="Is it big?")])
    result = read_vqa(images, qas, "rad", official=True)
    assert {r.image_id: (r.split, len(r.questions)) for r in result.records} == {"a": ("test", 2), "b": ("train", 1)}
    assert result.notes[1] == "1 images are in several splits of the source; each went to the held-out one"


def test_the_original_file_names_its_test_in_each_row(folder):
    rows = [rad(phrase_type="test_freeform"), rad("b.jpg", phrase_type="freeform")]
    images, qas = folder(["a.jpg", "b.jpg"], **{"VQA_RAD Dataset Public": rows})
    assert [r.split for r in read_vqa(images, qas, "rad", official=True).records] == ["test", "train"]


def test_a_repeated_question_keeps_its_first_answer(folder):
    rows = [rad(), rad(question="is it  normal?", answer="yes"), rad(answer="No"), rad("b.jpg")]
    result = read_vqa(*folder(["a.jpg", "b.jpg"], trainset=rows), "rad")
    assert [[q.answer for q in r.questions] for r in result.records] == [["Yes"], ["Yes"]]
    repeated = "2 questions repeat one of the same image and were left out; 1 of them have another answer there"
    assert result.notes == ("2 questions of 2 images were kept", repeated)


def test_missing_images_and_wrong_rows_are_set_aside(folder):
    rows = [rad(), rad("gone.jpg"), rad("gone.jpg", "Is it big?"), rad(answer=""), rad(kind="HALF"), rad(answer=[1])]
    result = read_vqa(*folder(["a.jpg"], trainset=[*rows, 7]), "rad")
    assert [(r.reason, r.image_id, r.where) for r in result.rejects] == [
        ("missing-image", "gone", "trainset.json: [1]"),
        ("bad-row", "a", "trainset.json: [3]"),
        ("bad-row", "a", "trainset.json: [4]"),
        ("bad-row", "a", "trainset.json: [5]"),
        ("bad-row", "", "trainset.json: [6]"),
    ]
    assert [len(r.questions) for r in result.records] == [1]
    assert result.notes == ("1 questions of 1 images were kept", "2 questions were lost with their image")


def test_modality_and_plane_where_all_answers_agree(folder):
    rows = [
        rad(question="Plane?", answer="Axial", kind="OPEN", question_type="PLANE"),
        rad(question="What is it?", answer="MRI", kind="OPEN", question_type="MODALITY"),
        rad("b.jpg", "Plane?", "PA", "OPEN", question_type="PLANE"),
        rad("b.jpg", "Which plane?", "Coronal", "OPEN", question_type="PLANE"),
        rad("b.jpg", "Is it CT?", "yes", question_type="MODALITY"),
    ]
    result = read_vqa(*folder(["a.jpg", "b.jpg"], trainset=rows), "rad")
    assert [(r.modality, r.plane) for r in result.records] == [("MR", "axial"), ("", "")]


def test_the_body_part_of_an_image_where_its_rows_agree(folder):
    rows = [
        rad(image_organ="CHEST"),
        rad(question="And now?", image_organ="CHEST"),
        rad("b.jpg", image_organ="ABD"),
        rad("c.jpg", image_organ="HEAD"),
        rad("c.jpg", "Which?", image_organ="ABD"),
        rad("d.jpg", image_organ="HAND"),
    ]
    result = read_vqa(*folder([f"{n}.jpg" for n in "abcd"], trainset=rows), "rad")
    assert [record.body_part for record in result.records] == ["chest", "abdomen", "", ""]


@pytest.mark.parametrize(
    ("location", "part"),
    [("Lung", "chest"), ("Chest_heart", "chest"), ("Brain_Tissue", "head"), ("Pelvic Cavity", "pelvis"), ("", "")],
)
def test_the_body_part_of_a_slake_image(folder, location, part):
    rows = [slake(1, "What is it?", "x", location=location)]
    result = read_vqa(*folder(["imgs/xmlab1/source.jpg"], train=rows), "slake", "slake")
    assert [record.body_part for record in result.records] == [part]


def test_slake_languages_and_image_ids(folder):
    train = [
        slake(1, "What is it?", "Lung", content_type="Organ"),
        slake(1, "Which plane?", "Coronal  Plane", content_type="Plane"),
        slake(1, "是什么?", "肺", "zh"),
        slake(2, "是什么?", "肺", "zh"),
    ]
    images, qas = folder([f"imgs/xmlab{n}/source.jpg" for n in (1, 2)], train=train, validate=[slake(2, "Big?", "No")])
    english = read("slake", images, qas, "slake")
    assert [(r.image_id, r.split, len(r.questions)) for r in english.records] == [
        ("xmlab1", "train", 2),
        ("xmlab2", "validate", 1),
    ]
    assert (english.records[0].modality, english.records[0].plane) == ("DX", "frontal")
    assert english.notes[1] == "2 questions in another language than en were left out"
    assert english.incomplete == {"xmlab1", "xmlab2"}
    both = read("slake", images, qas, "slake", {"languages": ["en", "zh"]})
    assert [(r.split, len(r.questions)) for r in both.records] == [("train", 3), ("validate", 2)]
    chinese = read("slake", images, f"{qas}/validate.json", "slake", {"languages": ["zh"]})
    assert (chinese.records, chinese.incomplete) == ([], frozenset())


def test_slake_boxes_of_lesions_become_findings(folder, tmp_path):
    images, qas = folder(["xmlab1/source.jpg", "xmlab2/source.jpg"], train=[slake(n, "Big?", "No") for n in (1, 2)])
    detections = [
        {"Lung": [0, 0, 9, 9]},
        {"Pneumonia": [1.5, 2, 3, 4]},
        {"Nodule": [1, 1, 0, 1]},
        {"Gizmo": [1, 1, 2, 2]},
    ]
    (tmp_path / "images/xmlab1/detection.json").write_text(json.dumps(detections))
    (tmp_path / "images/xmlab2/detection.json").write_text("{")
    result = read("slake", images, qas, "slake")
    (finding,) = result.records[0].findings
    assert (finding.id, finding.label, finding.box_xyxy) == ("xmlab1:1", "pneumonia", (1.5, 2, 4.5, 6))
    assert result.records[1].findings == ()
    assert [(r.reason, r.image_id, r.finding_id) for r in result.rejects] == [
        ("bad-box", "xmlab1", "xmlab1:2"),
        ("bad-annotation", "xmlab2", "xmlab2:detections"),
    ]
    assert result.notes[0] == "boxes of neither an organ nor a finding that is known: Gizmo"


def test_memory_file_system():
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/vqa-test/imgs/xmlab1/source.jpg", b"x")
    fs.pipe("/vqa-test/imgs/xmlab1/detection.json", b'[{"Pneumonia": [1, 2, 3, 4]}]')
    fs.pipe("/vqa-test/train.json", json.dumps([slake(1, "Big?", "No")]).encode())
    (record,) = read("slake", "memory://vqa-test", "memory://vqa-test", "slake").records
    assert record.source.uri == "memory://vqa-test/imgs/xmlab1/source.jpg"
    assert (record.split, record.findings[0].box_xyxy) == ("train", (1, 2, 4, 6))


def test_usage(folder):
    images, qas = folder(["a.jpg"], other=[rad()])
    with pytest.raises(UsageError, match="no such VQA source"):
        read_vqa(images, qas, "rad", source="vqa-med")
    with pytest.raises(UsageError, match="no question file"):
        read_vqa(images, qas, "rad")
    with pytest.raises(UsageError, match="languages"):
        read_vqa(images, qas, "rad", languages="en")
    with pytest.raises(MedclmError, match="another layout"):
        read_vqa(images, f"{qas}/other.json", "slake", source="slake")
    assert len(read_vqa(images, qas, "rad", files="other.*").records) == 1


def test_real_vqa_rad(real_data):
    folder = real_data("vqa-rad")
    result = read("vqa-rad", str(folder / "images"), str(folder / "trainset.json"), "vqa-rad")
    questions = [question for record in result.records for question in record.questions]
    assert (len(result.records), len(questions), result.rejects) == (314, 2571, [])
    assert result.notes[1].startswith("493 questions repeat")  # 2,571 and 493 are the 3,064 of the file
    assert sum(question.closed for question in questions) == 1529
    record, catalogue = result.records[0], Catalogue.of(result.records)
    asked = ask(record, catalogue, seed=0, limit=40, complete=False)
    assert asked[: len(record.questions)] == record.questions
    failed = [q.id for r in result.records for q in r.questions if verify.check(r, q)[1]]
    assert failed == []


def test_real_slake(real_data, tmp_path):
    folder = real_data("slake")
    names = {row["img_name"] for s in ("train", "validate") for row in json.loads((folder / f"{s}.json").read_text())}
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    counts = {}
    for languages in (["en"], ["zh"], ["en", "zh"]):
        result = read("slake", str(tmp_path), str(folder), "slake", {"languages": languages})
        assert [(r.reason, r.where) for r in result.rejects] == [("bad-row", "train.json: [1622]")]  # a blank answer
        for split in ("train", "validate"):
            kept = [r for r in result.records if r.split == split]
            counts["+".join(languages), split] = (len(kept), sum(len(r.questions) for r in kept))
    assert counts == {
        ("en", "train"): (450, 4911),  # 4,919 published: 7 repeated, 1 blank
        ("en", "validate"): (96, 1053),
        ("zh", "train"): (450, 4909),  # 4,916 published: 7 repeated
        ("zh", "validate"): (96, 1046),
        ("en+zh", "train"): (456, 8395),  # 130 images are one language's training and the other's validation
        ("en+zh", "validate"): (174, 3524),
    }
