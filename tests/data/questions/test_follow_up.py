"""Change since an earlier image: RECIST limits, worked by hand."""

from __future__ import annotations

import pytest

from medclm.data import verify
from medclm.data.questions import Catalogue, ask
from medclm.data.questions.follow_up import about_change, change_of
from medclm.data.records import Prior
from tests.data.helpers import finding, linked_nodule, record


def prior(*findings):
    return Prior(image_id="before", uri="before.dcm", days=90, findings=findings)


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [(10.0, 12.0, "larger"), (10.0, 11.9, "unchanged"), (10.0, 7.0, "smaller"), (10.0, 7.1, "unchanged")],
)
def test_the_limits_of_change(before, now, change):
    assert change_of(finding(size_mm=before), finding(size_mm=now)) == change


def test_new_resolved_and_unknown():
    assert change_of(None, finding()) == "new"
    assert change_of(finding(), None) == "resolved"
    assert change_of(finding(size_mm=5.0), finding()) is None


def test_each_finding_is_compared_once_and_the_answer_passes_the_checks():
    one = record([linked_nodule(size_mm=12.0)], prior=prior(finding(size_mm=6.0), finding("mass", n=2)))
    assert [(d.answer, dict(d.blanks)) for d in about_change(one)] == [
        ("larger", {"finding": "nodule"}),
        ("resolved", {"finding": "mass"}),
    ]
    asked = ask(one, Catalogue(("nodule",), ("frontal radiograph",)), seed=0, limit=20, types=("follow-up",))
    assert {q.answer for q in asked} == {"larger", "resolved"}
    assert all(verify.check(one, question) == (verify.CHECKS, None) for question in asked)


def test_two_of_a_name_cannot_be_told_apart():
    one = record([linked_nodule(), linked_nodule(n=2)], prior=prior(finding(size_mm=6.0)))
    assert list(about_change(one)) == []
