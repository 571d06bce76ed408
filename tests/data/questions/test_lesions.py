"""Sizes, pairs and the distractors of questions about findings, worked out by hand on a 20 x 20 picture."""

from __future__ import annotations

import pytest

from medclm.data.questions import Catalogue
from medclm.data.questions.lesions import about_findings, direction_of
from tests.data.helpers import finding, linked_nodule, record

CATALOGUE = Catalogue(("cardiomegaly", "effusion", "mass", "nodule"), ("frontal radiograph",),
                      (("margin", ("lobulated", "smooth", "spiculated")),))  # fmt: skip


def drafts(one, kind, wording=""):
    return [d for d in about_findings(one, CATALOGUE) if d.type == kind and d.wording == wording]


def test_a_size_in_whole_millimetres_with_sizes_that_are_clearly_wrong():
    (size,) = drafts(record([linked_nodule(size_mm=12.4)]), "size")
    assert (size.answer, size.distractors) == ("12 mm", ("6 mm", "25 mm", "37 mm"))
    assert size.reasoning[-1].text == "The size is 12 mm."
    assert drafts(record([linked_nodule(size_mm=0.4)]), "size") == []


def test_wrong_findings_are_absent_ones_and_those_the_organ_can_hold_come_first():
    (what,) = drafts(record([linked_nodule()]), "what")
    assert what.distractors == ("effusion", "mass", "cardiomegaly")


def test_wrong_organs_begin_with_the_other_side():
    (organ,) = drafts(record([linked_nodule()]), "organ")
    assert (organ.answer, organ.distractors) == ("left lung", ("right lung",))


def test_wrong_values_of_an_attribute_are_the_datasets_other_ones():
    (attribute,) = drafts(record([linked_nodule()]), "attribute")
    assert (attribute.answer, attribute.distractors) == ("smooth", ("lobulated", "spiculated"))


@pytest.mark.parametrize(
    ("box_xyxy", "plane", "direction"),
    [
        ((12.0, 12.0, 14.0, 14.0), "frontal", "below"),
        ((12.0, 12.0, 14.0, 14.0), "axial", "behind"),
        ((12.0, 0.0, 14.0, 2.0), "frontal", "above"),
        ((12.0, 0.0, 14.0, 2.0), "axial", "in front"),
        ((17.0, 4.0, 19.0, 6.0), "frontal", "left"),  # right of the picture is the patient's left
        ((2.0, 4.0, 4.0, 6.0), "axial", "right"),
        ((17.0, 9.0, 19.0, 11.0), "frontal", None),  # 4.5 across, 5.5 down: diagonal
        ((12.0, 5.0, 14.0, 20.0), "frontal", None),  # overlaps in height
        ((2.0, 4.0, 4.0, 6.0), "sagittal", None),
    ],
)
def test_directions_are_the_patients(box_xyxy, plane, direction):
    reference = finding(box_xyxy=(12.0, 3.0, 15.0, 6.0))
    assert direction_of(finding(box_xyxy=box_xyxy), reference, plane) == direction


def test_a_pair_is_asked_where_and_whether_in_one_organ():
    right = linked_nodule(label="mass", n=2, box_xyxy=(3.0, 3.0, 8.0, 8.0), organ="right_lung", side="right")
    one = record([linked_nodule(), right])
    (where,), (same,) = drafts(one, "relation"), drafts(one, "relation", "same_organ")
    assert (where.answer, where.blanks) == ("to the left", (("a", "nodule"), ("b", "mass")))
    assert where.choices == ("to the left", "to the right", "above", "below")
    assert (same.answer, same.reasoning[-1].text) == ("no", "They lie in different organs.")


def test_a_lung_and_its_lobe_are_neither_one_organ_nor_two():
    lobe = linked_nodule(label="mass", n=2, box_xyxy=(12.0, 9.0, 15.0, 12.0), organ="left_lower_lobe")
    assert drafts(record([linked_nodule(), lobe]), "relation", "same_organ") == []
