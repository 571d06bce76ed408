import dataclasses

import numpy as np
import pytest

from medclm.data.records import Prior, Step
from medclm.errors import MedclmError
from medclm.train.families import FAMILIES
from medclm.train.views import (
    BOX_COLOR,
    has_pictures,
    make_view,
    pictures_of,
    pixels,
)
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


def two_findings():
    """RECORD with a second finding, and a yes/no question about the first whose reasoning names both."""
    other = RECORD.findings[0].model_copy(update={"id": "f1", "label": "mass", "box_xyxy": (0.0, 0.0, 9.0, 8.0)})
    seeds = (
        Step(step="seed", text="There is a nodule.", box_xyxy=BOX),
        Step(step="seed", text="There is a mass.", box_xyxy=other.box_xyxy),
        Step(step="view", text="This is a frontal radiograph."),
    )
    question = RECORD.questions[1].model_copy(update={"reasoning": seeds})
    return RECORD.model_copy(update={"findings": (*RECORD.findings, other)}), question, other.box_xyxy


def test_what_is_drawn_does_not_tell_yes_from_no():
    record, yes, other = two_findings()
    no = yes.model_copy(update={"finding_ids": (), "answer": "no"})
    drawn = [make_view(record, question, "easy", FAMILY).drawn for question in (yes, no)]
    assert drawn == [(BOX, other)] * 2


def test_a_line_looks_at_its_own_box_and_the_others_at_all():
    record, question, other = two_findings()
    view = make_view(record, question, "medium", FAMILY)
    assert view.loc_lines == ((BOX,), (other,), ())
    assert view.loc_boxes == (BOX, other)
    assert make_view(record, question, "medium", FAMILY, by_line=False).loc_lines == ()
    assert make_view(record, question, "hard", FAMILY).loc_lines == ()
    somewhere = make_view(record, question, "medium", FAMILY, localize="random")
    assert [boxes[0] for boxes in somewhere.loc_lines[:2]] == list(somewhere.loc_boxes)
    assert set(somewhere.loc_boxes) & {BOX, other} == set()


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


def with_prior(findings=None, question="How has the nodule changed?", finding_ids=("f0",)):
    before = make_record(8)
    prior = Prior(
        image_id="before", uri="b.png", image=before.image, findings=before.findings if findings is None else findings
    )
    asked = RECORD.questions[0].model_copy(
        update={"type": "follow-up", "question": question, "finding_ids": finding_ids, "answer": "larger"}
    )
    return RECORD.model_copy(update={"prior": prior, "questions": (asked,)}), asked


def test_a_question_about_change_shows_the_earlier_picture_first():
    record, question = with_prior()
    easy = make_view(record, question, "easy", FAMILY)
    medium = make_view(record, question, "medium", FAMILY)
    assert [shown.image_id for shown in easy.images] == ["before", RECORD.image_id]
    before = record.prior.findings[0].box_xyxy
    assert [shown.drawn for shown in easy.images] == [(before,), (BOX,)]
    assert [shown.drawn for shown in medium.images] == [(), ()]
    assert [shown.loc_boxes for shown in medium.images] == [(before,), (BOX,)]
    hard = make_view(record, question, "hard", FAMILY)
    assert [shown.loc_boxes for shown in hard.images] == [(), ()]
    assert [p.shape for p in pictures_of(record, question)] == [(60, 80, 3)] * 2


def test_a_resolved_finding_is_known_by_its_name():
    nodule = make_record(8).findings[0]
    other = nodule.model_copy(update={"id": "f1", "label": "mass", "box_xyxy": (0.0, 0.0, 5.0, 5.0)})
    record, question = with_prior((nodule, other), "What has become of the nodule?", ())
    record = record.model_copy(update={"findings": ()})
    bare = question.model_copy(update={"reasoning": (Step(step="prior", text="The earlier image shows a nodule."),)})
    view = make_view(record, bare, "easy", FAMILY)
    assert [shown.drawn for shown in view.images] == [(nodule.box_xyxy,), ()]
    assert view.domain == "nodule/CR"


def test_other_questions_show_one_picture():
    record, _ = with_prior()
    assert len(make_view(record, RECORD.questions[0], "medium", FAMILY).images) == 1
    assert len(pictures_of(record, RECORD.questions[0])) == 1


def test_pictures_that_are_missing():
    record, question = with_prior()
    without = record.model_copy(update={"prior": record.prior.model_copy(update={"image": None})})
    bare = record.model_copy(update={"image": None})
    assert has_pictures(record, question)
    for broken, asked in ((without, question), (bare, question), (bare, RECORD.questions[0]), (RECORD, question)):
        assert not has_pictures(broken, asked)
        with pytest.raises(MedclmError, match="without a picture") as error:
            make_view(broken, asked, "medium", FAMILY)
        assert error.value.details["remedy"]
        with pytest.raises(MedclmError, match="lacks a picture"):
            pictures_of(broken, asked)
