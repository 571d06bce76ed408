from __future__ import annotations

import pytest

from medclm.data.knowledge import knowledge_base
from medclm.data.knowledge.steps import (
    check_step,
    definition_step,
    function_step,
    knowledge_steps,
    sign_steps,
    significance_step,
)
from medclm.data.records import Step
from tests.data.helpers import finding, linked_nodule

SPICULATED = linked_nodule(attributes={"margin": "Spiculated"})


def test_a_step_is_its_facts_sentence():
    step = definition_step("nodule")
    assert step == Step(
        step="knowledge",
        text="A nodule is a rounded, more or less well-defined focus of up to 30 mm in diameter.",
        facts=("finding.nodule.definition",),
    )
    assert significance_step("mass").text == (
        "A mass can be a cancer, and one in the lung is regarded as malignant until the opposite is proven."
    )
    assert function_step("left_lung").facts == ("organ.lungs.function",)


def test_nothing_is_said_of_what_the_base_does_not_know():
    assert definition_step("RBC") is None
    assert function_step("thorax") is None
    assert knowledge_steps(finding("RBC", organ="unclear")) == ()


def test_signs_follow_from_the_findings_own_attributes():
    assert [step.facts for step in sign_steps(SPICULATED)] == [("finding.nodule.sign.spiculated",)]
    rated = linked_nodule(attributes={"spiculation": "marked", "internal_structure": "soft tissue"})
    assert [step.facts for step in sign_steps(rated)] == [("finding.nodule.sign.spiculated",)]
    assert sign_steps(linked_nodule(attributes={"margin": "medium"})) == ()


def test_signs_that_contradict_each_other_are_left_out():
    both = linked_nodule(attributes={"margin": "sharp", "spiculation": "marked"})
    assert sign_steps(both) == ()


def test_the_steps_of_one_finding_in_order():
    assert [step.facts[0] for step in knowledge_steps(SPICULATED)] == [
        "finding.nodule.definition",
        "finding.nodule.sign.spiculated",
        "organ.lungs.function",
        "finding.nodule.significance",
    ]
    assert all(check_step(step, SPICULATED) is None for step in knowledge_steps(SPICULATED))


def test_every_fact_makes_a_step_that_holds():
    for found in knowledge_base().facts.values():
        assert check_step(Step(step="knowledge", text=found.text, facts=(found.id,))) is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"facts": ("finding.nodule.colour",)}, "unknown facts"),
        ({"text": "A nodule is always malignant."}, "not that of its facts"),
        ({"facts": ("finding.mass.definition",)}, "not that of its facts"),
    ],
)
def test_a_lie_is_caught(change, problem):
    assert problem in check_step(definition_step("nodule").model_copy(update=change))


def test_a_true_sentence_about_another_finding_is_caught():
    assert "not about 'nodule'" in check_step(definition_step("mass"), SPICULATED)
    smooth = sign_steps(linked_nodule())[0]
    assert "does not show the sign" in check_step(smooth, SPICULATED)
