import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.data.records import Step
from medclm.train.families import FAMILIES
from medclm.train.views import BOX_COLOR, make_view, parse_answer, pixels, target_text
from tests.train.conftest import make_record

FAMILY = dataclasses.replace(FAMILIES["idefics3"], frame_size=80)
RECORD = make_record(3)
BOX = RECORD.findings[0].box_xyxy


def test_easy_draws_and_medium_does_not():
    easy = make_view(RECORD, RECORD.questions[0], "easy", FAMILY)
    medium = make_view(RECORD, RECORD.questions[0], "medium", FAMILY)
    assert (easy.drawn, medium.drawn) == ((BOX,), ())
    assert easy.target == medium.target
    assert easy.loc_boxes == medium.loc_boxes == (BOX,)
    assert easy.domain == "nodule/CR"


def test_target_text_and_spans():
    view = make_view(RECORD, RECORD.questions[0], "medium", FAMILY, steps=("seed",))
    side = RECORD.questions[0].answer
    # x: 80 px wide picture in an 80 px frame; y: 60 px high, so 4/3
    x1, y1, x2, y2 = (round(v * s) for v, s in zip(BOX, (1, 4 / 3, 1, 4 / 3), strict=True))
    line = f"seed: There is a nodule in the {side} lung. [{x1} {y1} {x2} {y2}]"
    assert view.target == f"Reasoning:\n{line}\nAnswer: {side}"
    assert view.target[slice(*view.reasoning_span)] == f"{line}\nAnswer:"
    assert view.target[slice(*view.answer_span)] == f" {side}"


def test_hard_is_the_answer_only():
    view = make_view(RECORD, RECORD.questions[1], "hard", FAMILY)
    assert (view.target, view.reasoning_span, view.loc_boxes) == ("Answer: yes", (0, 0), ())


def test_a_question_without_reasoning_is_always_hard():
    view = make_view(RECORD, RECORD.questions[2], "easy", FAMILY)
    assert (view.stage, view.target, view.drawn) == ("hard", "Answer: frontal radiograph", ())


def test_steps_that_a_question_lacks_keep_all_of_its_own():
    view = make_view(RECORD, RECORD.questions[0], "medium", FAMILY, steps=("organ",))
    assert view.target.count("\n") == 4


def test_an_absent_finding_looks_at_the_lesions_of_its_reasoning():
    question = RECORD.questions[1].model_copy(update={"finding_ids": (), "answer": "no"})
    view = make_view(RECORD, question, "easy", FAMILY)
    assert view.drawn == view.loc_boxes == (BOX,)


def test_organ_boxes_are_attention_targets_but_never_drawn():
    organ = Step(step="organ", text="The point lies in the liver.", box_xyxy=(1.0, 2.0, 30.0, 40.0))
    question = RECORD.questions[1].model_copy(update={"finding_ids": (), "reasoning": (organ,)})
    view = make_view(RECORD, question, "easy", FAMILY)
    assert (view.drawn, view.loc_boxes) == ((), ((1.0, 2.0, 30.0, 40.0),))


def test_pixels_draw_the_box_just_outside_its_edge():
    untouched = pixels(RECORD.image)
    drawn = pixels(RECORD.image, (BOX,), frame_size=80)
    x1, y1, x2, y2 = (int(v) for v in BOX)
    changed = (untouched != drawn).any(axis=2)
    assert np.array_equal(drawn[changed], np.broadcast_to(BOX_COLOR, (changed.sum(), 3)))
    assert not changed[y1:y2, x1:x2].any()
    assert changed[y1 - 1, x1 - 1 : x2 + 1].all()
    assert changed[y1 - 1 : y2 + 1, x2].all()
    assert changed.sum() == 4 * 17


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
