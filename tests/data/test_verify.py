"""Planted lies, each of one kind, must be caught; the honest question passes."""

from __future__ import annotations

import pytest

from medclm.data import rationale, verify
from medclm.data.records import Question, Step
from tests.data.helpers import linked_nodule, record

NODULE = linked_nodule()
RECORD = record([NODULE])
HONEST = Question(
    id="q",
    type="side",
    question="On which side is the nodule?",
    answer="left",
    closed=True,
    choices=("left", "right"),
    reasoning=rationale.explain(RECORD, NODULE, "The side is left."),
    finding_ids=(NODULE.id,),
)


def with_step(text: str, box_xyxy=None) -> tuple[Step, ...]:
    return (*HONEST.reasoning, Step(step="conclusion", text=text, box_xyxy=box_xyxy))


def test_a_rating_whose_name_is_a_finding_is_no_finding():
    rated = linked_nodule(attributes={"calcification": "absent"})
    one = record([rated])
    steps = rationale.explain(one, rated, "The side is left.")
    assert verify.check(one, HONEST.model_copy(update={"reasoning": steps})) == (verify.CHECKS, None)
    lie = (*steps, Step(step="relation", text="There is a calcification too."))
    assert verify.check(one, HONEST.model_copy(update={"reasoning": lie}))[1].startswith("findings")


def test_the_honest_question_passes():
    assert verify.check(RECORD, HONEST) == (verify.CHECKS, None)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"answer": "right"}, "answer"),
        ({"type": "zone", "choices": None, "answer": "lower"}, "answer"),
        ({"type": "how-many", "choices": None, "answer": "2"}, "answer"),
        ({"type": "what", "choices": None, "answer": "mass"}, "answer"),
        ({"type": "is-there", "choices": ("yes", "no"), "answer": "no", "question": "Is there a nodule?"}, "answer"),
        ({"type": "is-there", "choices": ("yes", "no"), "answer": "yes", "question": "Is there a mass?"}, "answer"),
        ({"type": "attribute", "choices": None, "answer": "spiculated"}, "answer"),
        ({"choices": ("upper", "lower")}, "answer"),
        ({"reasoning": with_step("See there.", (0.0, 0.0, 1.0, 1.0))}, "boxes"),
        (
            {"type": "what", "choices": None, "closed": False, "answer": "nodule", "question": "What is this nodule?"},
            "leak",
        ),
        ({"reasoning": with_step("There is also an effusion.")}, "findings"),
        ({"reasoning": with_step("It is on the right.")}, "sides"),
    ],
)
def test_a_planted_lie_is_caught(lie, reason):
    passed, problem = verify.check(RECORD, HONEST.model_copy(update=lie))
    assert passed == ()
    assert problem.startswith(reason)
