"""Blind answers on questions made by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from medclm.data import blind
from medclm.data.records import Question


def ask(n: int, kind: str, text: str, answer: str, choices: tuple[str, ...] | None = None) -> Question:
    closed = choices is not None
    return Question(id=f"q{n}", type=kind, question=text, answer=answer, closed=closed, choices=choices)


def tally(*rows: tuple[str, Question]) -> blind.BlindTally:
    found = blind.BlindTally(seed=0)
    for split, question in rows:
        found.add(question, split)
    return found


def test_a_giveaway_in_the_wording_is_found():
    # the adjective tells the answer; the majority ("yes" : "no" is 20 : 20, "no" comes first) is right in half
    rows = [
        (split, ask(n, "is-there", f"Is a {'bright' if n % 2 else 'dark'} nodule there?", "Yes." if n % 2 else "no"))
        for n, split in enumerate(["train"] * 40 + ["test"] * 10)
    ]
    found = tally(*rows).accuracy()
    assert (found["accuracy"], found["n"], found["in_sample"]) == (0.5, 10, False)
    assert found["text_only"]["accuracy"] == 1.0
    assert found["text_only"]["majority_accuracy"] == 0.5
    assert found["by_type"]["is-there"] == {
        "answer": "no", "n": 10, "accuracy": 0.5,
        "text_only": {"accuracy": 1.0, "majority_accuracy": 0.5, "n": 10, "trained_on": 40},
    }  # fmt: skip


def test_equal_wording_gives_nothing_away():
    rows = [("train", ask(n, "side", "On which side?", "left" if n < 6 else "right")) for n in range(10)]
    rows += [("test", ask(10 + n, "side", "On which side?", "left" if n < 1 else "right")) for n in range(4)]
    found = tally(*rows).accuracy()
    assert found["text_only"]["accuracy"] == found["accuracy"] == 0.25


def test_choices_are_read():
    rows = [
        (split, ask(n, "what", "What is seen?", "mass" if n % 2 else "cyst", ("mass", "x") if n % 2 else ("cyst", "x")))
        for n, split in enumerate(["train"] * 8 + ["validate"] * 4)
    ]
    assert tally(*rows).accuracy()["text_only"]["accuracy"] == 1.0


def test_types_are_weighted_by_their_questions():
    rows = [("train", ask(0, "side", "Side?", "left")), ("train", ask(1, "what", "What?", "mass"))]
    rows += [("test", ask(n, "side", "Side?", "left")) for n in range(2, 5)]
    rows += [("test", ask(9, "what", "What?", "cyst"))]
    found = tally(*rows).accuracy()
    assert (found["accuracy"], found["text_only"]["accuracy"], found["text_only"]["n"]) == (0.75, 0.75, 4)


def test_without_a_held_out_split_nothing_is_learnt():
    found = tally(*[("train", ask(n, "side", "Side?", "left" if n else "right")) for n in range(4)]).accuracy()
    assert (found["accuracy"], found["in_sample"], found["text_only"]) == (0.75, True, None)
    assert tally().accuracy() == {
        "accuracy": None, "n": 0, "in_sample": True, "text_only": None, "by_type": {},
    }  # fmt: skip


def test_a_type_that_training_lacks_is_wrong():
    found = tally(("train", ask(0, "side", "Side?", "left")), ("test", ask(1, "what", "What?", "mass"))).accuracy()
    assert found["by_type"]["what"] == {"answer": "", "n": 1, "accuracy": 0.0, "text_only": None}
    assert found["by_type"]["side"] == {"answer": "left", "n": 0, "accuracy": None, "text_only": None}


def test_the_sample_is_capped_and_does_not_depend_on_order(monkeypatch):
    monkeypatch.setattr(blind, "MAX_TRAIN", 5)
    rows = [("train", ask(n, "what", f"word{n}", "mass")) for n in range(20)]
    one, two = tally(*rows), tally(*reversed(rows))
    assert one._pairs("what", True) == two._pairs("what", True)
    assert len(one._pairs("what", True)) == 5
    assert one.answers["what"]["train"] == Counter({"mass": 20})


@pytest.mark.parametrize(("given", "normal"), [("Yes.", "yes"), ("  Left \n lung ", "left lung"), ("2.5 mm", "2.5 mm")])
def test_normal_answer(given, normal):
    assert blind.normal_answer(given) == normal
