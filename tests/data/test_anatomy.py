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


def test_paths_end_at_the_root_and_never_run_in_a_circle():
    for name in anatomy.organs():
        path = anatomy.organ_path(name)  # would not end in a circle
        assert path[0] == "body"
        assert path[-1] == name
        assert len(set(path)) == len(path)


def test_a_part_lies_on_the_side_of_its_whole():
    opposite = {"left": "right", "right": "left"}
    for name, term in anatomy.organs().items():
        for whole in anatomy.organ_path(name)[:-1]:
            assert term.side not in opposite or anatomy.organs()[whole].side != opposite[term.side], (name, whole)


def test_no_two_organs_share_a_word():
    seen: dict[str, str] = {}
    for name, term in anatomy.organs().items():
        for word in {anatomy.normal_name(word) for word in (name, *term.synonyms)}:
            assert seen.setdefault(word, name) == name, word
            assert anatomy.organ_name(word) == name


def test_families_are_written_out():
    organs = anatomy.organs()
    assert organs["left_anterior_rib_3"].parent == "left_rib_3"
    assert organs["left_anterior_rib_3"].synonyms == ("anterior 3rd rib left",)
    assert "left_anterior_rib_12" not in organs, "the twelfth rib has no anterior part that a radiograph shows"
    assert organs["posterior_ribs_11"].parent == "ribs_11"
    assert organs["vertebra_l2"].parent == "lumbar_spine"
    assert organs["right_middle_lung_zone"].parent == "right_lung"
    assert anatomy.organ_text("left_anterior_rib_3") == "left anterior rib 3"
    assert [anatomy.ordinal(n) for n in (1, 2, 3, 4, 11, 12)] == ["1st", "2nd", "3rd", "4th", "11th", "12th"]


def test_pairs_know_their_parts():
    assert anatomy.pair_of("lungs") == ("left_lung", "right_lung")
    assert anatomy.pair_of("kidneys") == ("left_kidney", "right_kidney")
    assert anatomy.pair_of("heart") is None
    assert anatomy.pair_of("costal_cartilages") is None, "nobody segments its sides"


def test_what_no_finding_is_placed_in():
    others = {name for name, term in anatomy.organs().items() if not term.is_host and not term.is_region}
    assert {"left_upper_lung_zone", "lower_lung_zones", "ribs_7", "posterior_ribs_7", "vertebrae"} <= others
    assert not {"left_lung", "left_upper_lobe", "left_posterior_rib_7", "vertebra_t5"} & others


def test_codes_are_those_of_the_anatomic_location_list(real_data):
    import json

    entries = json.loads((real_data("anatomy-knowledge") / "anatomic_locations_noembed.json").read_text())
    places = {entry["_id"]: entry for entry in entries}
    coded = {name: term for name, term in anatomy.organs().items() if term.radlex}
    assert len(coded) >= 140
    for name, term in coded.items():
        place = places[term.radlex]
        assert place.get("snomedId") == term.snomed, name
        words = place["description"].split()
        for side in ("left", "right"):
            if side in words:
                assert term.side == side, name
    assert coded["left_upper_lobe"].radlex == "RID1327"
    assert coded["vertebra_t12"].snomed == "23215003"
