import json

import pytest

from medclm.data.readers.vqa_layouts import in_vqa_rad_held_out
from medclm.errors import MedclmError, UsageError
from medclm.eval.benchmarks import load_benchmark


def row(n: int, name: str, **more) -> dict:
    return {
        "qid": n, "image_name": name, "question": f"Q{n}?", "answer": "Yes", "answer_type": "CLOSED",
        "question_type": "PRES",
    } | more  # fmt: skip


def names(held_out: bool, count: int) -> list[str]:
    every = (f"synpic{n}.jpg" for n in range(1000))
    return [name for name in every if in_vqa_rad_held_out(name) is held_out][:count]


def test_medclm_takes_the_test_split_and_counts_training_answers(dataset):
    found = load_benchmark(f"medclm:{dataset}")
    assert len(found.items) == 2 * 4 + 2 * 3
    assert {item.image_id for item in found.items} == {"im10", "im11", "im12", "im13"}
    assert len(found.train_answers) == 4 * 4 + 2 * 3
    side = next(item for item in found.items if item.id == "im10:side")
    assert (side.answer, side.closed, side.choices, side.boxes) == (
        "left", True, ("left", "right"), ((80.0, 50.0, 100.0, 70.0),),
    )  # fmt: skip
    assert side.ignore_steps == {"organ", "view"}
    normal = next(item for item in found.items if item.id == "im12:what")
    assert (normal.boxes, normal.ignore_steps) == ((), frozenset())


def test_limit_is_seeded(dataset):
    first, again, other = (load_benchmark(f"medclm:{dataset}", 5, seed) for seed in (1, 1, 2))
    assert first.items == again.items != other.items
    assert len(first.items) == 5
    assert "5 of 14 questions" in first.notes[-1]


def test_vqa_rad_layout(vqa_rad):
    inside, outside = names(True, 2), names(False, 1)
    folder = vqa_rad(
        [
            row(1, inside[0], answer_type="CLOSED ", answer=" Yes ", question_type="PRES, ATTRIB"),
            row(2, inside[1], answer_type="OPEN", answer=4, question_type="PRSE"),
            row(3, outside[0], answer="No"),
            row(4, outside[0], question_type=""),
        ],
        missing=(inside[1],),
    )
    found = load_benchmark(f"vqa-rad:{folder}")
    one, two = found.items
    assert (one.id, one.closed, one.answer, one.type) == ("1", True, "Yes", "pres")
    assert (two.closed, two.answer, two.type) == (False, "4", "pres")
    assert one.image is not None
    assert (two.image, two.problem) == (None, f"images/{inside[1]} is missing")
    assert found.train_answers == (("pres", "No"), ("other", "Yes"))
    assert found.splits_by == "image"


def test_real_vqa_rad(real_data):
    found = load_benchmark(f"vqa-rad:{real_data('vqa-rad')}")
    assert len(found.items) + len(found.train_answers) == 3064 - 493
    assert "trainset.json: 3064 questions, 1823 closed and 1241 open, as published" in found.notes
    assert any(note.startswith("493 rows repeat a question") and "26 of them" in note for note in found.notes)
    assert {item.organ for item in found.items} == {"chest", "abd", "head"}
    assert all(item.image for item in found.items)
    assert {item.closed for item in found.items} == {True, False}


@pytest.mark.parametrize("spec", ["nothing:somewhere", "vqa-rad", "medclm:", ""])
def test_unknown_name_lists_the_known_ones(spec):
    with pytest.raises(UsageError, match="vqa-rad:DIR"):
        load_benchmark(spec)


def test_missing_folder_and_pictures(tmp_path):
    with pytest.raises(UsageError, match=r"trainset\.json"):
        load_benchmark(f"vqa-rad:{tmp_path}")
    (tmp_path / "trainset.json").write_text(json.dumps([row(1, "a.jpg")]))
    with pytest.raises(UsageError, match="images"):
        load_benchmark(f"vqa-rad:{tmp_path}")
    with pytest.raises(UsageError, match="not a built dataset"):
        load_benchmark(f"medclm:{tmp_path}")


def test_truncated_json_and_a_row_without_a_key(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "trainset.json").write_text('[{"qid": 1, ')
    with pytest.raises(MedclmError, match="not JSON"):
        load_benchmark(f"vqa-rad:{tmp_path}")
    (tmp_path / "trainset.json").write_text('[{"qid": 1}]')
    with pytest.raises(MedclmError, match="no image_name"):
        load_benchmark(f"vqa-rad:{tmp_path}")
