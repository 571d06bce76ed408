from __future__ import annotations

import pytest

from medclm.data import anatomy


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("lung_lower_lobe_left", "left_lower_lobe"),
        ("Left lung", "left_lung"),
        ("vertebrae_T12", "vertebra_t12"),
        ("rib_right_7", "right_rib_7"),
        ("clavicula_left", "left_clavicle"),
        ("kidney_right", "right_kidney"),
        ("wing", None),
    ],
)
def test_other_tools_names_map_into_the_vocabulary(raw, name):
    assert anatomy.organ_name(raw) == name


def test_paths_and_texts():
    assert anatomy.organ_path("left_lower_lobe") == ("body", "thorax", "lungs", "left_lung", "left_lower_lobe")
    assert anatomy.organ_text("left_lower_lobe") == "left lower lobe"
    assert anatomy.organ_text("vertebra_t12") == "vertebra T12"


@pytest.mark.parametrize(("raw", "name"), [("Pleural effusion", "effusion"), ("nodules", "nodule"), ("RBC", None)])
def test_raw_labels_map_into_the_vocabulary(raw, name):
    assert anatomy.finding_name(raw) == name


def test_admissible_organs_include_what_lies_below_them():
    assert anatomy.is_admissible("nodule", "left_upper_lobe")
    assert not anatomy.is_admissible("nodule", "heart")
    assert anatomy.is_admissible("RBC", "heart"), "an unknown finding may lie anywhere"


def test_the_vocabulary_is_closed():
    names = anatomy.organs()
    assert all(term.parent is None or term.parent in names for term in names.values())
    assert all(organ in names for term in anatomy.findings().values() for organ in term.organs)
    sides = {term.side for term in names.values()}
    assert sides == {None, "left", "right", "bilateral", "midline"}
    for name, term in names.items():
        if name.startswith(("left_", "right_")):
            assert term.side == name.split("_")[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A pericardial effusion and two Nodules.", {"pericardial effusion", "nodule"}),
        ("The bone lesion, not the lesion.", {"bone lesion", "lesion"}),
        ("Massive, cystic and calcified.", set()),
        ("An RBC beside it.", {"RBC"}),
    ],
)
def test_the_longest_name_counts(text, names):
    assert anatomy.findings_named(text, ["RBC"]) == names


def test_a_diagnosis_and_its_sign_are_two_findings():
    assert anatomy.finding_name("Pneumonia") == "pneumonia"
    assert anatomy.finding_name("air space consolidation") == "consolidation"
    assert anatomy.finding_name("Infiltration") == "opacity"
