"""Plain VQA sources: what is held out, and that nothing of it is learned."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from medclm.data.readers.vqa import read_vqa
from medclm.data.readers.vqa_layouts import in_vqa_rad_held_out
from medclm.eval.benchmarks import load_benchmark
from tests.data.readers.pictures import write_png


def named(held_out):
    names = (f"synpic{n}.png" for n in range(1000))
    return next(name for name in names if in_vqa_rad_held_out(name) is held_out)


@pytest.fixture
def rad(tmp_path):
    """Two images of VQA-RAD: one that the benchmark holds out, one that it does not."""
    rows = []
    for n, name in enumerate((named(True), named(False))):
        write_png(tmp_path / "images" / name, (4, 6))
        asked = {"qid": n, "image_name": name, "image_organ": "CHEST", "question": "Is it normal?", "answer": "Yes"}
        rows.append({**asked, "answer_type": "CLOSED ", "question_type": "PRSE, ABN", "phrase_type": "freeform"})
    (tmp_path / "trainset.json").write_text(json.dumps(rows))
    return tmp_path


def test_vqa_rad_is_split_as_the_benchmark_splits_it(rad):
    result = read_vqa(str(rad / "images"), str(rad / "trainset.json"), "rad")
    split = {record.image_id: record.split for record in result.records}
    assert split == {named(True)[:-4]: "test", named(False)[:-4]: "train"}
    (item,) = load_benchmark(f"vqa-rad:{rad}").items
    assert (item.image_id, item.type, item.closed) == (named(True), "pres", True)


def test_its_own_split_on_request(rad):
    result = read_vqa(str(rad / "images"), str(rad), "rad", official=True)
    assert [record.split for record in result.records] == ["train", "train"]


def test_no_question_of_the_benchmark_is_learned(real_data):
    folder = real_data("vqa-rad")
    result = read_vqa(str(folder / "images"), str(folder), "rad")
    assert Counter(record.split for record in result.records) == {"train": 254, "test": 60}
    learned = {f"{record.image_id}.jpg" for record in result.records if record.split == "train"}
    items = load_benchmark(f"vqa-rad:{folder}").items
    assert (len(items), {item.image_id for item in items} & learned) == (499, set())


def test_a_negated_question_says_nothing_of_the_modality(real_data):
    folder = real_data("vqa-rad")
    result = read_vqa(str(folder / "images"), str(folder), "rad")
    assert {record.modality for record in result.records} == {"", "CT", "DX", "MR"}  # "… does this not represent?": US


def test_figures_of_one_article_stay_in_one_split(tmp_path):
    head = "index,Figure_path,Caption,Question,Choice A,Choice B,Choice C,Choice D,Answer,split"
    for name, rows in {
        "train": ["0,PMC1_F1_1.png,c,What?, A:x, B:, C:y, D:z,C,train", "1,PMC2_F1.png,c,What?,x,y,z,w,A,train"],
        "test": ["0,PMC1_F2.png,c,What?,x,y,z,w,D,test"],
    }.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows]))
    for name in ("PMC1_F1_1", "PMC1_F2", "PMC2_F1"):
        write_png(tmp_path / "images" / f"{name}.png", (4, 6))
    result = read_vqa(str(tmp_path / "images"), str(tmp_path), "pmc", source="pmc-vqa")
    found = {record.image_id: (record.patient_id, record.split) for record in result.records}
    assert found == {"PMC1_F1_1": ("PMC1", "test"), "PMC1_F2": ("PMC1", "test"), "PMC2_F1": ("PMC2", "train")}
    question = next(r for r in result.records if r.image_id == "PMC1_F1_1").questions[0]
    assert (question.question, question.answer, question.choices) == (
        "What? Options: A. x; C. y; D. z", "y", ("x", "y", "z"),
    )  # fmt: skip
