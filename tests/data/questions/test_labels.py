"""Questions about labels without a place: who is asked what, and that the verifier agrees."""

from __future__ import annotations

import random

import pytest

from medclm.data import verify
from medclm.data.questions import Catalogue, ask
from medclm.data.questions.labels import about_labels
from medclm.data.records import Question
from tests.data.helpers import linked_nodule, record

CATALOGUE = Catalogue(("effusion", "mass", "nodule", "odd thing"), ("frontal radiograph",))


def drafts(one):
    found = about_labels(one, CATALOGUE, random.Random(0))
    return [(d.type, d.answer, dict(d.blanks).get("finding", ""), d.distractors) for d in found]


def bare(**labels):
    return record(organs=(), **labels)


def test_a_yes_a_no_and_what_it_is():
    assert drafts(bare(labels=("effusion",), labels_absent=("mass",))) == [
        ("is-there", "yes", "effusion", ()),
        ("is-there", "no", "mass", ()),
        ("what", "effusion", "", ("mass",)),
    ]


def test_nothing_is_denied_that_the_source_does_not_deny():
    assert drafts(bare(labels=("effusion",))) == [("is-there", "yes", "effusion", ()), ("what", "effusion", "", ())]


def test_two_labels_have_no_one_name():
    assert {kind for kind, *_ in drafts(bare(labels=("effusion", "mass")))} == {"is-there"}


def test_only_absent_labels():
    assert drafts(bare(labels_absent=("nodule",))) == [("is-there", "no", "nodule", ())]


def test_a_label_that_no_image_has_is_not_asked_for():
    assert drafts(bare(labels_absent=("pneumothorax",))) == []


def test_what_a_present_label_may_be_as_well_is_not_denied():
    one = bare(labels=("consolidation",), labels_absent=("opacity",))
    catalogue = Catalogue(("consolidation", "opacity"), ())
    assert [d.answer for d in about_labels(one, catalogue, random.Random(0))] == ["yes", "consolidation"]


def test_boxed_findings_and_nothing_known_are_for_others():
    assert drafts(record([linked_nodule()], labels=("mass",))) == []
    assert drafts(bare()) == []


@pytest.mark.parametrize("complete", [True, False])
def test_what_is_asked_passes_the_verifier_and_is_answer_only(complete):
    one = bare(labels=("odd thing",), labels_absent=("mass", "nodule"))
    for seed in range(20):
        questions = ask(one, CATALOGUE, seed=seed, limit=9, complete=complete, choices_share=0.5)
        assert {q.type for q in questions} == {"is-there", "what"}
        assert [q.answer for q in questions if q.type == "is-there"].count("no") == 1
        assert all(q.reasoning == () and q.finding_ids == () and q.difficulty == 1 for q in questions)
        assert [verify.check(one, q) for q in questions] == [(verify.CHECKS, None)] * 3


@pytest.mark.parametrize(
    ("asked", "answer"), [("an effusion", "no"), ("a mass", "yes"), ("a nodule", "no"), ("a nodule", "yes")]
)
def test_the_verifier_refuses_what_the_labels_do_not_say(asked, answer):
    one = bare(labels=("effusion",), labels_absent=("mass",))
    lie = Question(
        id="q", type="is-there", question=f"Is there {asked}?", answer=answer, closed=True, choices=("yes", "no")
    )
    assert verify.check(one, lie)[1].startswith("answer")


def test_an_organ_in_the_name_of_a_finding_does_not_mislead_the_verifier():
    one = record(labels=("left lung",))
    question = Question(
        id="q", type="is-there", question="Is there a left lung?", answer="yes", closed=True, choices=("yes", "no")
    )
    assert verify.check(one, question) == (verify.CHECKS, None)
