from __future__ import annotations

import random
import string

import pytest

from medclm.data.anatomy import findings_named, organ_name, organ_path
from medclm.data.knowledge import knowledge_base
from medclm.data.knowledge.ask import (
    KnowledgeQuestion,
    knowledge_questions,
    questions_at,
    right_answers,
    templates,
)
from medclm.data.records import Question
from tests.data.helpers import finding, linked_nodule

LEFT = linked_nodule()
RIGHT = linked_nodule(n=2, organ="right_lung", side="right")
HEART = finding("cardiomegaly", n=3, organ="heart")


def ask(*findings, seed=0) -> dict[tuple[str, ...], KnowledgeQuestion]:
    """Questions by kind, and a sign's by its answer too."""
    asked = knowledge_questions(findings, random.Random(seed))
    return {(q.kind, q.answer) if q.kind == "sign" else (q.kind,): q for q in asked}


def worded(asked: KnowledgeQuestion, template: str) -> Question:
    return Question(
        id="q",
        type="knowledge",
        question=template.format(**dict(asked.blanks)),
        answer=asked.answer,
        closed=asked.choices is not None,
        choices=asked.choices,
        reasoning=asked.steps,
    )


def test_one_nodule_with_a_smooth_margin():
    asked = ask(LEFT)
    assert set(asked) == {
        ("system",),
        ("function",),
        ("neighbour",),
        ("differential",),
        ("sign", "yes"),
        ("sign", "no"),
    }
    assert asked[("system",)].answer == "respiratory system"
    assert asked[("system",)].facts == ("organ.lungs.system",)
    assert asked[("function",)].answer == "gas exchange"
    assert dict(asked[("sign", "yes")].blanks) == {
        "attribute": "margin",
        "finding": "nodule",
        "claim": "a benign cause",
    }
    assert dict(asked[("sign", "no")].blanks)["claim"] == "malignancy"
    assert asked[("sign", "no")].choices == ("yes", "no")


def test_an_enlarged_heart_is_asked_for_its_usual_place():
    assert ask(HEART)[("home",)].answer == "heart"


def test_several_findings_are_asked_about_where_they_lead_to_one_answer():
    both = ask(LEFT, RIGHT)
    assert ("system",) in both, "both lie in the lungs"
    assert ("sign", "yes") not in both, "the nodule would not say which"
    mixed = ask(LEFT, HEART)
    assert {kind for kind, *_ in mixed} == {"sign"}


def test_a_differential_is_asked_only_where_its_list_holds():
    in_liver = linked_nodule(organ="liver", organ_path=("body", "abdomen", "liver"))
    assert ("differential",) in ask(LEFT)
    assert ("differential",) not in ask(in_liver), "a nipple shadow is none of the liver's"


def test_nothing_is_asked_of_what_the_base_does_not_know():
    assert ask() == {}
    assert ask(finding("RBC", organ="unclear")) == {}


def test_questions_are_a_function_of_the_seed():
    assert ask(LEFT) == ask(LEFT)
    assert any(ask(LEFT, seed=n) != ask(LEFT) for n in range(1, 5))


@pytest.mark.parametrize("document", knowledge_base().findings.values(), ids=lambda document: document.key)
def test_every_finding_at_every_organ_gives_questions_with_one_right_choice(document):
    for n, organ in enumerate(document.organs):
        attributes = {key: values[n % len(values)] for key, values in document.attributes.items()}
        one = finding(document.name, organ=organ, organ_path=organ_path(organ), attributes=attributes)
        for asked in knowledge_questions([one], random.Random(n)):
            wrong = set(asked.choices or asked.distractors) - {asked.answer}
            assert asked.answer in asked.right
            assert not wrong & set(asked.right)
            assert len(wrong) == (1 if asked.kind == "sign" else 3)
            question = worded(asked, templates()[asked.kind][0])
            assert right_answers([one], [], question) == set(asked.right)
            assert len(asked.answer.split()) <= 10


def test_a_wrong_answer_and_a_foreign_fact_are_not_right():
    asked = ask(LEFT)[("sign", "yes")]
    question = worded(asked, templates()["sign"][0])
    assert right_answers([LEFT], [], question) == {"yes"}
    rough = linked_nodule(attributes={"margin": "spiculated"})
    assert right_answers([rough], [], question) == set(), "its margin shows another sign"
    assert right_answers([HEART], [], worded(ask(LEFT)[("system",)], templates()["system"][0])) == set()


def test_the_organ_at_a_point_is_asked_for_its_system_and_function():
    asked = {q.kind: q for q in questions_at("left_kidney", "31", "62", random.Random(0))}
    assert {kind: q.answer for kind, q in asked.items()} == {
        "system_at": "urinary system",
        "function_at": "filtering blood and making urine",
    }
    question = worded(asked["system_at"], templates()["system_at"][0])
    assert question.question == "Which body system does the organ 31 % across and 62 % down the picture belong to?"
    assert right_answers([], ["liver", "left_kidney"], question) == {"urinary system"}
    assert right_answers([], ["liver"], question) == set(), "no such organ in the image"
    assert questions_at("thorax", "31", "62", random.Random(0)) == []


def test_yes_and_no_balance():
    answers = [
        q.answer for seed in range(5) for q in knowledge_questions([LEFT], random.Random(seed)) if q.kind == "sign"
    ]
    assert answers.count("yes") == answers.count("no") > 0


@pytest.mark.parametrize("kind", sorted(templates()))
def test_every_kind_has_twenty_wordings_that_do_not_name_the_answer(kind):
    wordings = templates()[kind]
    blanks = {"sign": {"attribute", "finding", "claim"}, "neighbour": {"choices"}, "differential": {"choices"}}
    blanks |= {key: {"across", "down"} for key in ("system_at", "function_at")}
    assert len(set(wordings)) == len(wordings) >= 20
    for wording in wordings:
        assert {name for _, name, _, _ in string.Formatter().parse(wording) if name} == blanks.get(kind, set())
        assert not findings_named(wording)
        assert {organ_name(word) for word in wording.strip("?.").split()} <= {None, "body"}
