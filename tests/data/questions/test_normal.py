"""Normal anatomy: the point inside one organ, and organs that no finding touches."""

from __future__ import annotations

import random

from medclm.data.questions.normal import about_normality, inner_point
from tests.data.helpers import finding, linked_nodule, mask_of, record


def normality(one):
    return [(d.answer, dict(d.blanks)["organ"]) for d in about_normality(one, random.Random(0))]


def test_the_organ_with_the_finding_is_not_normal_and_the_other_is():
    assert normality(record([linked_nodule()])) == [("no", "left lung"), ("yes", "right lung")]


def test_an_image_without_findings_is_asked_now_and_then_and_then_it_is_normal():
    drawn = [[d.answer for d in about_normality(record(), random.Random(n))] for n in range(400)]
    assert {tuple(answers) for answers in drawn} == {(), ("yes",)}
    assert 70 <= drawn.count(["yes"]) <= 130


def test_a_finding_that_reaches_into_an_organ_leaves_none_normal():
    wide = linked_nodule(box_xyxy=(8.0, 3.0, 15.0, 6.0))  # the right lung ends at x = 9
    assert normality(record([wide])) == [("no", "left lung")]


def test_nothing_is_called_normal_when_a_finding_is_unlinked_or_only_a_label():
    assert normality(record([finding("mass", organ="unclear")])) == []
    assert normality(record(labels=("mass",))) == []


def test_the_inner_point_is_the_deepest_pixel():
    assert inner_point(mask_of((2, 2, 7, 7))) == (4, 4)
    assert inner_point(mask_of((2, 2, 4, 9))) is None  # nowhere 2 px from the edge
