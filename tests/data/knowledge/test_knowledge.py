from __future__ import annotations

import re

import pytest

from medclm.data import knowledge
from medclm.errors import UsageError


def test_a_fact_by_its_id():
    found = knowledge.fact("organ.liver.function")
    assert found.text == "The liver turns over nutrients, breaks down poisons and makes bile."
    assert found.source == "slake-kg:Liver/function"
    with pytest.raises(UsageError, match="no such fact"):
        knowledge.fact("organ.liver.colour")


def test_facts_of_a_finding_and_of_a_part_of_an_organ():
    ids = [found.id for found in knowledge.finding_facts("scoliosis")]
    assert ids == [
        "finding.scoliosis.definition",
        "finding.scoliosis.place",
        "finding.scoliosis.significance",
        "finding.scoliosis.supports.curve",
        "finding.scoliosis.against.positioning",
        "finding.scoliosis.differential",
    ]
    assert knowledge.finding_facts("RBC") == ()
    assert {found.id for found in knowledge.organ_facts("left_kidney")} == {
        "organ.kidneys.function",
        "organ.kidneys.system",
        "organ.kidneys.neighbours",
    }
    assert knowledge.organ_facts("thorax") == ()


def test_allowed_values_in_their_order():
    assert knowledge.attribute_values("nodule", "spiculation") == (
        "none", "nearly none", "medium", "near marked", "marked",
    )  # fmt: skip
    assert knowledge.attribute_values("nodule", "internal_structure") == ("soft tissue", "fluid", "fat", "air")
    assert knowledge.attribute_values("nodule", "smell") == ()
    assert knowledge.attribute_values("RBC", "margin") == ()


def test_the_values_that_the_lidc_reader_writes_are_allowed():
    from medclm.samples.lidc_readings import RATINGS

    for key, words in RATINGS.items():
        assert set(words) <= set(knowledge.attribute_values("nodule", key)), key


def test_what_cannot_be_denied_beside_a_finding():
    assert knowledge.not_deniable(["consolidation"]) == {"consolidation", "lesion", "opacity", "pneumonia"}
    assert knowledge.not_deniable(["pneumothorax", "RBC"]) == {"pneumothorax", "RBC"}
    assert knowledge.not_deniable([]) == frozenset()


@pytest.mark.parametrize("name", sorted(knowledge.knowledge_base().findings))
def test_a_finding_whose_name_contains_another_cannot_deny_it(name):
    inner = {other for other in knowledge.knowledge_base().findings if other in name and other != name}
    assert inner <= knowledge.not_deniable([name])


def test_version_and_hash_identify_the_content():
    assert knowledge.version() == 1
    assert re.fullmatch(r"[0-9a-f]{64}", knowledge.content_hash())
