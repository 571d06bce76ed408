import dataclasses

import numpy as np
import pytest

from medclm.errors import MedclmError
from medclm.eval.asks import VARIANTS, Picture, batches, make_plan, make_windows
from medclm.eval.benchmarks import Benchmark, load_benchmark
from tests.hand_dataset import png


@pytest.fixture
def benchmark(dataset) -> Benchmark:
    return load_benchmark(f"medclm:{dataset}")


def test_equal_questions_about_equal_pictures_are_asked_once(benchmark):
    plan = make_plan([benchmark], VARIANTS, seed=0)
    per = {variant: [key for key in plan.wanted if key[2] == variant] for variant in VARIANTS}
    # 14 questions, 8 of them with boxes; all pictures have one size, and 4 texts are asked
    assert {variant: len(keys) for variant, keys in per.items()} == {
        "question": 14, "blank": 14, "shuffled": 14, "text_only": 14, "masked": 8, "elsewhere": 8,
    }  # fmt: skip
    assert len({plan.wanted[key] for key in per["blank"]}) == 4
    assert len({plan.wanted[key] for key in per["text_only"]}) == 4
    assert plan.asks[plan.wanted["medclm", "im10:side", "text_only"]].picture == ""
    # an item's question about another's image is that image's own question, where it has the same
    shuffled = plan.asks[plan.wanted["medclm", "im10:what", "shuffled"]]
    assert shuffled.picture != "medclm/im10"
    assert shuffled == plan.asks[plan.wanted["medclm", f"{shuffled.picture[7:]}:what", "question"]]


def test_a_file_answers_each_item_apart(benchmark):
    twice = dataclasses.replace(benchmark, items=(benchmark.items[0], dataclasses.replace(benchmark.items[0], id="x")))
    assert len(make_plan([twice], ("question",), 0).asks) == 1
    assert len(make_plan([twice], ("question",), 0, apart=True).asks) == 2


def test_attention_is_measured_on_the_question_alone(benchmark):
    plan = make_plan([benchmark], ("question", "blank"), 0, attend=True)
    assert sum(bool(ask.boxes) for ask in plan.asks) == 8


def test_a_picture_is_whole_in_one_window_sorted_by_length(benchmark):
    plan = make_plan([benchmark], VARIANTS, seed=0)
    windows = make_windows(plan, batch_size=2)
    assert sum(len(window.asks) for window in windows) == len(plan.asks)
    shown = [picture.name for window in windows for picture in window.pictures]
    assert len(shown) == len(set(shown))
    for window in windows:
        lengths = [len(ask.question) for ask in window.asks]
        assert lengths == sorted(lengths)
        assert {ask.picture for ask in window.asks} - {""} == {picture.name for picture in window.pictures}
        assert [place for batch in batches(window, 2) for place in batch] == list(range(len(window.asks)))


def test_a_window_is_named_by_what_is_asked(benchmark):
    plan = make_plan([benchmark], ("question",), 0)
    one, again = make_windows(plan, 2), make_windows(plan, 2)
    assert [window.name for window in one] == [window.name for window in again]
    items = (dataclasses.replace(benchmark.items[0], question="Other?"), *benchmark.items[1:])
    other = make_windows(make_plan([dataclasses.replace(benchmark, items=items)], ("question",), 0), 2)
    assert [a.name == b.name for a, b in zip(one, other, strict=True)].count(False) == 1


def test_edits_are_made_where_the_picture_is_opened(tmp_path):
    from PIL import Image

    data = png(Image.new("L", (6, 4), 100))
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, str(tmp_path / "a.png")):
        assert np.unique(Picture("a", source).open()).tolist() == [100]
        assert np.unique(Picture("a", source, "blank").open()).tolist() == [128]
    assert Picture("a", data, "masked", ((0, 0, 2, 2),)).open().size == (6, 4)
    with pytest.raises(MedclmError):
        Picture("a", data[:30]).open()
    with pytest.raises(MedclmError, match="not exist"):
        Picture("a", str(tmp_path / "b.png")).open()
