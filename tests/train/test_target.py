import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.data.records import Step
from medclm.train.families import FAMILIES
from medclm.train.target import parse_answer, target_text

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
