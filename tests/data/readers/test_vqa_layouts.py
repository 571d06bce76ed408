"""The layouts of PathVQA and PMC-VQA, and files that are not what they should be."""

from __future__ import annotations

import csv
import json
import os
import pickle

import pytest

from medclm.data.readers import read
from medclm.data.readers.vqa_layouts import LAYOUTS, read_questions, split_of_file
from medclm.errors import MedclmError

VERSION_1 = {
    "Figure_path": "PMC1_F1.jpg",
    "Question": "What is seen?",
    "Answer": " a cyst",
    "Choice A": " A:a cyst ",
    "Choice B": " B:NA",
    "Choice C": " C:C: limb",
    "Choice D": " D:a mass",
    "Answer_label": "A",
}
VERSION_2 = {
    "index": "3",
    "Figure_path": "PMC1_F1_2.jpg",
    "Caption": "A figure,\nof two lines",
    "Question": "What is seen?",
    "Choice A": "a cyst",
    "Choice B": "a vein",
    "Choice C": "a limb",
    "Choice D": "a mass",
    "Answer": "D",
    "split": "test",
}


def write_csv(path, *rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_pmc_vqa_of_both_versions(tmp_path):
    for name in ("PMC1_F1.jpg", "PMC1_F1_2.jpg"):
        (tmp_path / name).write_bytes(b"")
    write_csv(tmp_path / "train.csv", VERSION_1, {**VERSION_1, "Answer_label": "E"}, {**VERSION_1, "Choice A": " A: "})
    write_csv(tmp_path / "test_2.csv", VERSION_2)
    old = read("pmc-vqa", str(tmp_path), str(tmp_path), "pmc")
    (question,) = old.records[0].questions
    assert question.question == "What is seen? Options: A. a cyst; B. NA; C. C: limb; D. a mass"
    assert (question.answer, question.closed) == ("a cyst", True)
    assert question.choices == ("a cyst", "NA", "C: limb", "a mass")
    assert [r.reason for r in old.rejects] == ["bad-row", "bad-row"]
    new = read("pmc-vqa", str(tmp_path), str(tmp_path), "pmc", {"files": "*_2.csv"})
    assert [(r.image_id, r.split, r.questions[0].answer) for r in new.records] == [("PMC1_F1_2", "test", "a mass")]


def test_pathvqa_pickles(tmp_path):
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "images" / split / f"{split}_0001.jpg").write_bytes(b"")
        (tmp_path / "qas" / split).mkdir(parents=True)
        rows = [
            {"image": f"{split}_0001", "question": "Is it a cell?", "answer": "yes"},
            {"image": f"{split}_0001", "question": "What is it?", "answer": "a cell"},
        ]
        (tmp_path / "qas" / split / f"{split}_qa.pkl").write_bytes(pickle.dumps(rows))
    result = read("pathvqa", str(tmp_path / "images"), str(tmp_path / "qas"), "pathvqa")
    assert [(r.image_id, r.split) for r in result.records] == [("train_0001", "train"), ("val_0001", "validate")]
    assert [(q.answer, q.closed) for q in result.records[0].questions] == [("yes", True), ("a cell", False)]


class Runs:
    """Would make a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_runs_no_code(tmp_path):
    (tmp_path / "train_qa.pkl").write_bytes(pickle.dumps([Runs(tmp_path / "made")]))
    with pytest.raises(MedclmError, match="no plain pickle") as caught:
        list(read_questions(str(tmp_path / "train_qa.pkl"), ()))
    assert "mkdir" in str(caught.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.json", b"\xff\xfe"),
        ("a.json", b'{"question": 1}'),
        ("a.json", b'[{"other": 1}]'),
        ("a.json", b"[3]"),
        ("a.csv", b"other\n1\n"),
        ("a.pkl", b""),
        ("a.pkl", b"text"),
        ("a.pkl", pickle.dumps({})),
    ],
)
def test_unusable_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MedclmError) as caught:
        list(read_questions(str(tmp_path / name), LAYOUTS["pathvqa"].keys))
    assert caught.value.details["where"] == str(tmp_path / name)


def test_an_empty_list_has_no_questions(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([]))
    assert list(read_questions(str(tmp_path / "a.json"), LAYOUTS["slake"].keys)) == []


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("d/trainset.json", "train"),
        ("testset.json", "test"),
        ("val_qa.pkl", "validate"),
        ("validate.json", "validate"),
        ("test_2.csv", "test"),
        ("VQA_RAD Dataset Public.json", None),
        ("2.csv", None),
        ("settings.json", None),
    ],
)
def test_splits_by_the_name_of_the_file(name, split):
    assert split_of_file(name) == split
