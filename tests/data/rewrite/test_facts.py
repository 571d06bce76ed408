"""The facts of single sentences, worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.data.rewrite.facts import facts_of


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("There is a nodule in the left lung.", {("finding", "nodule", "+"), ("organ", "lung"), ("side", "left")}),
        ("There is no nodule.", {("finding", "nodule", "-")}),
        ("It is 1.2 cm.", {("number", "12", "mm", "")}),
        ("It is twelve millimetres long.", {("number", "12", "mm", "")}),
        ("It covers 3 per cent of the organ.", {("number", "3", "%", "")}),
        ("30 % across, 45 % down", {("number", "30", "%", "across"), ("number", "45", "%", "down")}),
        ("It is the only finding.", {("only",)}),
        ("They lie in different organs.", {("same", "-")}),
        ("They do not lie in the same organ.", {("same", "-")}),
        ("Both lungs are affected.", {("side", "both"), ("organ", "lung")}),
        ("Both lie in the liver.", {("organ", "liver")}),
        ("There may be a mass.", {("hedge", "hedge"), ("finding", "mass", "+")}),
        ("There are nodules.", {("finding", "nodule", "+"), ("many", "nodule")}),
        ("It is up to 12 mm.", {("bound", "at most"), ("number", "12", "mm", "")}),
        ("The margin is smooth.", {("key", "margin", "+"), ("value", "smooth", "+")}),
        ("A hamartoma is seen.", {("unknown", "hamartoma")}),
    ],
)
def test_stated(text, stated):
    assert facts_of(text).stated == stated


@pytest.mark.parametrize(
    ("text", "abnormal"),
    [
        ("No finding is seen.", {"-"}),
        ("The heart is normal.", {"-"}),
        ("The heart is not normal.", {"+"}),
        ("There are 0 findings.", {"-"}),
        ("Nothing abnormal is seen.", {"-"}),
        ("The liver is here.", set()),
        ("The finding is on the left.", set()),
    ],
)
def test_abnormality_as_such(text, abnormal):
    assert facts_of(text).abnormal == abnormal


def test_findings_are_counted():
    assert facts_of("There are 2 findings: nodule, nodule.").findings == {"nodule": 2}
    assert facts_of("There are two nodules and a mass.").findings == {"nodule": 2, "mass": 1}
    assert facts_of("There is no nodule.").findings == {}


def test_attributes_keep_their_values():
    pairs = frozenset({("margin", "smooth"), ("texture", "solid")})
    assert facts_of("margin smooth, texture solid").pairs == pairs
    assert facts_of("a smooth margin and a solid texture").pairs == pairs


@given(st.text(max_size=200))
def test_any_text_has_facts(text):
    assert facts_of(text) == facts_of(text)
