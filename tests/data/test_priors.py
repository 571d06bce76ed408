"""Which earlier image belongs to which: by patient, view and day."""

from __future__ import annotations

from medclm.data.priors import with_priors
from tests.data.helpers import finding, record


def shot(name, day, **more):
    return record([finding()], image_id=name, study_day=day, **more)


def priors(records, incomplete=frozenset()):
    return {r.image_id: (r.prior.image_id, r.prior.days) for r in with_priors(records, incomplete) if r.prior}


def test_the_last_earlier_image_of_the_same_patient_and_view():
    records = [
        shot("c", 40),
        shot("a", 0),
        shot("b", 10),
        shot("other", 5, patient_id="p2"),
        shot("lateral", 20, view="LL"),
    ]
    assert priors(records) == {"b": ("a", 10), "c": ("b", 30)}
    assert [r.image_id for r in with_priors(records, frozenset())] == ["c", "a", "b", "other", "lateral"]


def test_two_images_of_one_day_share_the_earlier_one():
    assert priors([shot("a", 0), shot("b", 10), shot("c", 10)]) == {"b": ("a", 10), "c": ("a", 10)}


def test_no_prior_without_days_from_an_incomplete_image_or_for_slices():
    assert priors([shot("a", None), shot("b", 10)]) == {}
    assert priors([shot("a", 0), shot("b", 10)], frozenset({"a"})) == {}
    assert priors([shot("a", 0, plane="axial"), shot("b", 10, plane="axial")]) == {}
