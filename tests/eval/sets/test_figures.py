import json
import pickle

from PIL import Image

from medclm.eval.benchmarks import load_benchmark
from medclm.eval.scorers import strict


def picture(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8)).save(path)


def test_pathvqa(tmp_path):
    picture(tmp_path / "images/test/test_0001.jpg")
    rows = [
        {"image": "test_0001", "question": "Is it a cell?", "answer": "yes"},
        {"image": "test_0001", "question": "What is it?", "answer": "a cell"},
    ]
    (tmp_path / "qas/test").mkdir(parents=True)
    (tmp_path / "qas/test/test_qa.pkl").write_bytes(pickle.dumps(rows))
    found = load_benchmark(f"pathvqa:{tmp_path}")
    assert [(item.type, item.closed) for item in found.items] == [("yes-no", True), ("what", False)]
    assert found.items[0].image.endswith("images/test/test_0001.jpg")
    assert any("PUBLISHED: 6719" in note for note in found.notes)
    assert "train_qa.pkl is missing: no majority control" in found.notes
    (tmp_path / "qas/train").mkdir()
    (tmp_path / "qas/train/train_qa.pkl").write_bytes(pickle.dumps(rows))
    assert load_benchmark(f"pathvqa:{tmp_path}").train_answers == (("yes-no", "yes"), ("what", "a cell"))


def test_pmc_vqa_letters_count_as_their_choice(tmp_path):
    picture(tmp_path / "figures/PMC1_fig1.jpg")
    head = "index,Figure_path,Caption,Question,Choice A,Choice B,Choice C,Choice D,Answer,split"
    (tmp_path / "test_2.csv").write_text(f"{head}\n0,PMC1_fig1.jpg,c,Which organ?,liver,spleen,lung,heart,B,test\n")
    (item,) = load_benchmark(f"pmc-vqa:{tmp_path}").items
    assert (item.answer, item.choices, item.patient_id) == ("spleen", ("liver", "spleen", "lung", "heart"), "PMC1")
    assert strict("B", item.answer, item.closed, item.choices).correct
    assert strict("B. spleen", item.answer, item.closed, item.choices).correct
    assert not strict("B. lung", item.answer, item.closed, item.choices).correct


def test_omnimedvqa(tmp_path):
    picture(tmp_path / "Images/CT/1.png")
    good = {
        "dataset": "x", "question_id": "x_1", "question_type": "Modality Recognition", "question": "Which?",
        "gt_answer": "CT", "image_path": "Images/CT/1.png", "option_A": "MR", "option_B": "CT", "modality_type": "CT",
    }  # fmt: skip
    folder = tmp_path / "QA_information/Open-access"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text(json.dumps([good, good | {"gt_answer": "US"}, good | {"image_path": "no.png"}]))
    found = load_benchmark(f"omnimedvqa:{tmp_path}")
    assert [item.id for item in found.items] == ["x_1", "x_1#2"]
    assert found.items[0].question == "Which? Options: A. MR; B. CT"
    assert (found.items[0].type, found.items[0].modality) == ("modality recognition", "CT")
    assert any("1 rows cannot be used" in note and "'US' is none of the options" in note for note in found.notes)
    assert any("1 questions have no picture" in note for note in found.notes)
