"""What a question asks for."""

from __future__ import annotations

import pytest

from medclm.data.rewrite.facts import facts_of


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Is there a nodule?", "polar"),
        ("Tell me whether there is a nodule.", "polar"),
        ("In the left lung, is a nodule present?", "polar"),
        ("Is there a nodule which can be seen?", "polar"),
        ("Is the nodule larger than the mass?", "polar"),
        ("Is the nodule or the mass larger?", "larger"),
        ("Is the nodule on the left or on the right?", "side"),
        ("Is it in the upper, middle or lower zone?", "zone"),
        ("Name the organ that holds the nodule.", "where"),
        ("How large is the nodule?", "size"),
        ("How many findings are there?", "count"),
        ("What is wrong here?", "what"),
        ("What kind of image is this?", "view"),
        ("What is the margin of the nodule?", "attribute"),
        ("Seen from the mass, where is the nodule?", "direction"),
        ("How has the nodule changed since the prior image?", "change"),
        ("Do the nodule and the mass share one organ?", "same"),
    ],
)
def test_topics(text, topic):
    assert ("asks", topic) in facts_of(text).stated
    assert facts_of(text).is_question


def test_a_statement_asks_nothing():
    found = facts_of("The side is left.")
    assert not found.is_question
    assert not [fact for fact in found.stated if fact[0] == "asks"]
