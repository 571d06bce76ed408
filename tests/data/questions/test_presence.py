"""Presence with its negatives: by label, by organ, by count."""

from __future__ import annotations

import random

from medclm.data.questions import Catalogue
from medclm.data.questions.presence import about_presence, about_whole
from tests.data.helpers import finding, linked_nodule, record

CATALOGUE = Catalogue(("mass", "nodule"), ("frontal radiograph",))


def presence(one, wording):
    found = about_presence(one, CATALOGUE, random.Random(0))
    return [(d.answer, dict(d.blanks)) for d in found if d.wording == wording]


def test_one_yes_and_one_no_by_label():
    assert presence(record([linked_nodule()]), "") == [
        ("yes", {"finding": "nodule", "a_finding": "a nodule"}),
        ("no", {"finding": "mass", "a_finding": "a mass"}),
    ]


def test_the_right_finding_in_the_wrong_organ_is_a_no():
    answers = presence(record([linked_nodule()]), "is-there_in")
    assert [(answer, blanks["organ"]) for answer, blanks in answers] == [("yes", "left lung"), ("no", "right lung")]


def test_yes_and_no_are_reasoned_alike():
    found = list(about_presence(record([linked_nodule()]), CATALOGUE, random.Random(0)))
    assert [draft.answer for draft in found] == ["yes", "no", "yes", "no"]
    assert len({draft.reasoning[:-1] for draft in found}) == 1
    assert [draft.reasoning[-1].text for draft in found] == [
        "So a nodule is present.",
        "So a mass is not present.",
        "So the left lung holds a nodule.",
        "So the right lung holds no nodule.",
    ]


def test_no_organ_is_asked_where_a_finding_has_no_clear_one():
    assert presence(record([linked_nodule(), finding("mass", n=2, organ="unclear")]), "is-there_in") == []


def test_an_image_level_label_is_not_absent():
    assert [answer for answer, _ in presence(record([linked_nodule()], labels=("mass",)), "")] == ["yes"]


def test_an_image_of_labels_only_is_asked_elsewhere():
    assert list(about_presence(record(labels=("mass",)), CATALOGUE, random.Random(0))) == []
    assert list(about_presence(record(labels_absent=("mass",)), CATALOGUE, random.Random(0))) == []


def test_wrong_counts_are_the_nearest():
    (count,) = about_whole(record([linked_nodule()]))
    assert (count.answer, count.distractors[:3]) == ("1", ("0", "2", "3"))
