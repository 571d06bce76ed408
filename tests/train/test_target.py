import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.data.records import Step
from medclm.train.families import FAMILIES
from medclm.train.target import StepReader, parse_answer, parse_line, target_text

FAMILY = dataclasses.replace(FAMILIES["idefics3"], frame_size=80)
_WORDS = st.text(st.characters(categories=["L", "N"], include_characters=" ,.%"), min_size=1, max_size=30).map(
    lambda text: " ".join(text.split())
).filter(bool)  # fmt: skip
_STEPS = st.lists(st.builds(Step, step=st.sampled_from(["seed", "organ", "view"]), text=_WORDS), max_size=4)


@given(_STEPS, _WORDS)
def test_parse_is_the_inverse_of_target_text(steps, answer):
    text, reasoning, _ = target_text(steps, answer, (60, 80), FAMILY)
    parsed = parse_answer(text, (60, 80), FAMILY)
    assert (parsed.answer, parsed.steps, parsed.ok) == (answer, tuple(steps), True)
    assert (reasoning == (0, 0)) == (not steps)


@pytest.mark.parametrize(
    ("text", "answer", "steps", "ok"),
    [
        ("Answer: yes", "yes", 0, True),
        ("Answer:", "", 0, False),
        ("yes", "", 0, False),
        ("Reasoning:\nseed: a nodule [1 2 3 4]\nAnswer: left lung", "left lung", 1, True),
        ("Reasoning:\nno colon here\nAnswer: yes", "yes", 1, False),
        ("Reasoning:\nseed: cut off in the", "", 1, False),
        ("Reasoning:\nAnswer: yes", "yes", 0, False),
    ],
)
def test_parse_of_what_models_write(text, answer, steps, ok):
    parsed = parse_answer(text, (60, 80), FAMILY)
    assert (parsed.answer, len(parsed.steps), parsed.ok) == (answer, steps, ok)


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("seed: A nodule. [12 30 20 40]", Step(step="seed", text="A nodule.", box_xyxy=(12, 22.5, 20, 30))),
        ("view: Frontal.", Step(step="view", text="Frontal.")),
        ("no colon [0 0 40 80] here", Step(step="", text="no colon here", box_xyxy=(0, 0, 40, 60))),
        ("organ: two [0 0 8 8] [0 0 9 9]", Step(step="organ", text="two", box_xyxy=(0, 0, 8, 6))),
        ("organ: reversed [9 9 0 0]", Step(step="organ", text="reversed")),
    ],
)  # fmt: skip
def test_a_line_by_hand(line, step):
    """The frame is 80 x 80, the picture 80 wide and 60 high: heights shrink to three quarters."""
    assert parse_line(line, (60, 80), FAMILY) == step


def test_steps_are_found_when_their_lines_end():
    reader = StepReader((60, 80), FAMILY)
    found = {}
    for piece in [
        "Reasoning:\n",
        "seed: a [0 ",
        "0 8 8]",
        "\norgan: b\n\n",
        "view: c",
        "\nAns",
        "wer: yes\n",
        "more: d\n",
    ]:
        found[piece] = [(step.step, step.text, step.box_xyxy) for step in reader.add(piece)]
    assert {piece: steps for piece, steps in found.items() if steps} == {
        "\norgan: b\n\n": [("seed", "a", (0, 0, 8, 6)), ("organ", "b", None)],
        "\nAns": [("view", "c", None)],
    }


_FRAGMENTS = st.sampled_from(
    ["Reasoning:", "Answer:", "\n", "\r\n", "\u2028", " ", "seed: a", "organ: b [1 2 30 40]", "c", "[1 2 3 4]", ":"]
)


@given(st.lists(_FRAGMENTS, max_size=14).map("".join), st.integers(1, 9))
def test_steps_of_a_growing_text_begin_those_of_the_whole(text, length):
    reader = StepReader((60, 80), FAMILY)
    pieces = [text[start : start + length] for start in range(0, len(text), length)]
    found = [step for piece in pieces for step in reader.add(piece)]
    assert tuple(found) == parse_answer(text, (60, 80), FAMILY).steps[: len(found)]


@given(_STEPS, _WORDS, st.integers(1, 9))
def test_a_text_in_the_form_has_all_its_steps_before_its_end(steps, answer, length):
    text = target_text(steps, answer, (60, 80), FAMILY)[0]
    reader = StepReader((60, 80), FAMILY)
    pieces = [text[start : start + length] for start in range(0, len(text), length)]
    assert [step for piece in pieces for step in reader.add(piece)] == steps
