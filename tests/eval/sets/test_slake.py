import json

import pytest
from PIL import Image

from medclm.errors import UsageError
from medclm.eval.benchmarks import load_benchmark
from medclm.eval.sets.slake import questions


def row(n: int, image: int, **more) -> dict:
    return {
        "img_id": image, "img_name": f"xmlab{image}/source.jpg", "question": f"Q{n}?", "answer": "Yes", "q_lang": "en",
        "location": "Lung", "modality": "X-Ray", "answer_type": "CLOSED", "content_type": "Organ", "qid": n,
    } | more  # fmt: skip


def write(folder, split: str, rows: list[dict]) -> None:
    (folder / f"{split}.json").write_text(json.dumps(rows))
    for name in {row["img_name"] for row in rows}:
        (folder / "imgs" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 10), 90).save(folder / "imgs" / name)


def test_two_languages_are_two_benchmarks(tmp_path):
    write(tmp_path, "train", [row(1, 1), row(2, 1, answer="No", q_lang="zh")])
    write(tmp_path, "test", [row(3, 2), row(4, 2, q_lang="zh", answer="左肺", answer_type="OPEN"), row(5, 1)])
    english, chinese = (load_benchmark(f"{name}:{tmp_path}") for name in ("slake", "slake-zh"))
    assert [item.id for item in english.items] == ["3", "5"]
    assert [(item.answer, item.closed) for item in chinese.items] == [("左肺", False)]
    assert (english.items[0].type, english.items[0].organ, english.items[0].modality) == ("organ", "lung", "X-Ray")
    assert english.train_answers == (("organ", "Yes"),)
    assert (
        "test: 2 questions, 2 closed and 0 open; PUBLISHED: 1061: another copy, or an incomplete one" in english.notes
    )
    assert "1 images are in training too" in english.notes


def test_what_is_missing_is_said(tmp_path):
    write(tmp_path, "validate", [row(3, 2), row(4, 3)])
    with pytest.raises(UsageError, match=r"test\.json"):
        load_benchmark(f"slake:{tmp_path}")
    (tmp_path / "imgs/xmlab3/source.jpg").unlink()
    found = load_benchmark(f"slake@validate:{tmp_path}")
    assert "train.json is missing: no majority control" in found.notes
    assert "1 questions have no picture (imgs/xmlab3/source.jpg is missing)" in found.notes
    (tmp_path / "imgs/xmlab2/source.jpg").unlink()
    with pytest.raises(UsageError, match="all of the benchmark's pictures are missing"):
        load_benchmark(f"slake@validate:{tmp_path}")


def test_real_counts_are_the_published_ones(real_data):
    folder = str(real_data("slake"))
    fault, count = questions(folder, "train", "en")[1]  # one row of the published file has an empty answer
    assert fault == "1 rows cannot be used; the first: train.json: [1622]: answer must be text, got ''"
    assert count == "train: 4919 questions, 1943 closed and 2975 open, 1 that cannot be used, as published"
    assert questions(folder, "validate", "en")[1] == ["validate: 1053 questions, 422 closed and 631 open, as published"]
    with pytest.raises(UsageError, match=r"test\.json"):
        load_benchmark(f"slake:{folder}")
