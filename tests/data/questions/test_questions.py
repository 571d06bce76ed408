from __future__ import annotations

import re
from collections import Counter

import pytest

from medclm.data import questions, verify
from medclm.data.questions import Catalogue
from medclm.data.records import Question
from tests.data.helpers import finding, linked_nodule, record

CATALOGUE = Catalogue(labels=("effusion", "mass", "nodule"), views=("frontal radiograph",))


def ask(one, limit=40, **more):
    return questions.ask(one, CATALOGUE, seed=0, limit=limit, **more)


def by_type(asked):
    return {question.type: question for question in asked if question.answer != "yes"}


def test_one_nodule_gives_every_type_with_the_records_values():
    answers = {(question.type, question.answer) for question in ask(record([linked_nodule()]))}
    points = {answer for kind, answer in answers if kind == "which-organ"}
    assert points <= {"left lung", "right lung"}
    assert len(points) == 1
    assert {pair for pair in answers if pair[0] not in ("which-organ", "knowledge")} == {
        ("what", "nodule"),
        ("organ", "left lung"),
        ("side", "left"),
        ("zone", "upper"),
        ("attribute", "smooth"),
        ("is-there", "yes"),
        ("is-there", "no"),
        ("how-many", "1"),
        ("size", "3 mm"),
        ("is-normal", "yes"),
        ("is-normal", "no"),
    }


def test_an_image_without_findings_is_asked_about():
    asked = by_type(ask(record()))
    assert asked["what"].answer == "no abnormality"
    assert asked["how-many"].answer == "0"
    assert asked["is-there"].answer == "no"


def test_nothing_that_counts_on_absence_is_asked_of_an_incomplete_image():
    kinds = {question.type for question in ask(record([linked_nodule()]), complete=False)}
    assert kinds & {"is-there", "how-many", "is-normal", "follow-up"} == set()


def test_two_nodules_are_never_the_nodule():
    two = [linked_nodule(), linked_nodule(n=2, box_xyxy=(3.0, 8.0, 5.0, 10.0), organ="right_lung", side="right")]
    for question in ask(record(two)):
        assert question.type not in ("organ", "side", "zone", "attribute", "size", "which-is-larger", "relation")
        if question.type == "what":
            assert re.search("left lung|right lung", question.question)


def test_the_larger_of_two_is_asked_only_when_it_is_clearly_larger():
    small = linked_nodule()  # 3 x 3
    large = linked_nodule(label="mass", n=2, box_xyxy=(3.0, 3.0, 8.0, 8.0))
    same = linked_nodule(label="mass", n=2, box_xyxy=(3.0, 3.0, 6.0, 6.0))
    larger = by_type(ask(record([small, large])))["which-is-larger"]
    assert (larger.answer, larger.choices, larger.closed) == ("mass", ("nodule", "mass"), True)
    assert "which-is-larger" not in by_type(ask(record([small, same])))


def test_at_least_four_in_ten_presence_answers_are_no():
    records = [record([linked_nodule()], image_id=f"a{i}") for i in range(30)]
    answers = Counter(q.answer for one in records for q in ask(one, limit=6) if q.type == "is-there")
    assert answers["no"] >= 0.4 * sum(answers.values()) > 0


def test_questions_depend_on_the_seed_and_nothing_else():
    one = record([linked_nodule()])
    assert ask(one) == ask(one)
    assert questions.ask(one, CATALOGUE, seed=1, limit=20) != ask(one)


def test_the_limit_keeps_types_in_turn():
    asked = ask(record([linked_nodule()]), limit=4)
    assert len(asked) in (3, 4)
    assert len({question.type for question in asked}) >= 3


@pytest.mark.parametrize("kind", sorted(questions.templates()))
def test_every_type_has_twenty_different_wordings(kind):
    wordings = questions.templates()[kind]
    assert len(wordings) >= 20
    assert len(set(wordings)) == len(wordings)


def test_every_generated_question_passes_every_check():
    findings = [linked_nodule(), linked_nodule(label="mass", n=2, box_xyxy=(3.0, 3.0, 8.0, 8.0), organ="right_lung",
                                               side="right")]  # fmt: skip
    for one in (record(), record(findings), record(findings[:1]), record([finding("RBC", organ="unclear")])):
        for question in ask(one):
            assert verify.check(one, question) == (verify.CHECKS, None)


def test_a_share_of_open_questions_becomes_multiple_choice_with_the_answer_among_four():
    catalogue = Catalogue(("cardiomegaly", "effusion", "mass", "nodule"), ("frontal radiograph",))
    asked = questions.ask(record([linked_nodule()]), catalogue, seed=0, limit=20, choices_share=1.0)
    what = by_type(asked)["what"]
    assert (what.closed, sorted(what.choices)) == (True, ["cardiomegaly", "effusion", "mass", "nodule"])
    assert what.question.count(", ".join(what.choices)) == 1
    assert by_type(asked)["side"].choices == ("left", "right")
    assert verify.check(record([linked_nodule()]), what) == (verify.CHECKS, None)


def test_difficulty_grows_with_inferences_small_lesions_and_company():
    alone = by_type(ask(record([linked_nodule()])))
    assert {kind: alone[kind].difficulty for kind in ("what", "side", "how-many")} == {
        "what": 1, "side": 2, "how-many": 2}  # fmt: skip
    tiny = by_type(ask(record([linked_nodule(box_xyxy=(12.0, 3.0, 13.0, 6.0))])))  # 3 of 400 px
    assert (tiny["what"].difficulty, tiny["side"].difficulty) == (2, 3)
    mass = linked_nodule(label="mass", n=2, box_xyxy=(3.0, 3.0, 8.0, 8.0), organ="right_lung", side="right")
    assert by_type(ask(record([linked_nodule(), mass])))["side"].difficulty == 3


def test_only_the_types_that_are_wanted():
    asked = questions.ask(record([linked_nodule()]), CATALOGUE, seed=0, limit=20, types=("side", "zone"))
    assert {question.type for question in asked} == {"side", "zone"}


def test_the_body_part_is_asked_where_the_dataset_has_more_than_one():
    one = record().model_copy(update={"body_part": "chest"})
    catalogue = Catalogue.of([one, one.model_copy(update={"body_part": "head"}), record()])
    assert catalogue.body_parts == ("chest", "head")
    (asked,) = questions.ask(one, catalogue, seed=0, limit=9, types=("body-part",))
    assert (asked.type, asked.answer, asked.closed) == ("body-part", "chest", False)
    assert verify.check(one, asked) == (verify.CHECKS, None)
    assert verify.check(one.model_copy(update={"body_part": "head"}), asked)[1].startswith("answer")
    assert questions.ask(one, Catalogue.of([one]), seed=0, limit=9, types=("body-part",)) == ()
    assert questions.ask(record(), catalogue, seed=0, limit=9, types=("body-part",)) == ()


def test_published_questions_are_a_type_like_any_other():
    published = Question(id="i:q0", type="vqa", question="Is it normal?", answer="no", closed=True)
    one = record().model_copy(update={"questions": (published,)})
    assert ask(one, types=("vqa",)) == (published,)
    assert published not in ask(one, types=("what",))
    assert ask(one)[0] == published
