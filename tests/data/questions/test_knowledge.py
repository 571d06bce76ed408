"""Knowledge questions as the build asks them: cited, verified, and refused where a word of a fact is changed."""

from __future__ import annotations

from medclm.data import knowledge, verify
from medclm.data.questions import Catalogue, ask
from tests.data.helpers import linked_nodule, record

CATALOGUE = Catalogue(("effusion", "mass", "nodule"), ("frontal radiograph",))


def asked(one, kind="knowledge"):
    return ask(one, CATALOGUE, seed=0, limit=60, types=(kind,))


def test_the_organ_that_holds_the_nodule_belongs_to_the_respiratory_system():
    one = record([linked_nodule()])
    (system,) = [q for q in asked(one) if q.answer == "respiratory system"]
    (step,) = [step for step in system.reasoning if step.facts]
    assert step.facts == ("organ.lungs.system",)
    assert step.text == knowledge.fact("organ.lungs.system").text
    assert "lung" not in system.question
    assert (system.finding_ids, system.difficulty) == (("img:1",), 3)


def test_every_one_passes_the_checks_and_a_changed_fact_does_not():
    one = record([linked_nodule()])
    for question in asked(one):
        assert verify.check(one, question) == (verify.CHECKS, None)
        steps = tuple(s.model_copy(update={"text": s.text.replace(" ", "  ", 1)}) if s.facts else s
                      for s in question.reasoning)  # fmt: skip
        assert verify.check(one, question.model_copy(update={"reasoning": steps}))[1].startswith("knowledge")


def test_what_explains_itself_by_the_definition():
    (what,) = asked(record([linked_nodule()]), "what")
    assert [step.facts for step in what.reasoning if step.facts] == [("finding.nodule.definition",)]


def test_a_smooth_margin_is_cited_where_an_attribute_is_asked_for():
    (attribute,) = asked(record([linked_nodule()]), "attribute")
    assert ("finding.nodule.sign.smooth",) in [step.facts for step in attribute.reasoning]
