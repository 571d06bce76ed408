"""Every label of every supported tool maps into the vocabulary, on the side that its name says."""

from __future__ import annotations

import pytest

from medclm.data import anatomy
from medclm.data.segmenters.labels import labels, organ_labels, organs_of
from medclm.errors import MedclmError, UsageError

COUNTS = {"totalsegmentator_ct": (1, 117), "totalsegmentator_mr": (1, 50), "torchxrayvision": (0, 14), "cxas": (0, 159)}


@pytest.mark.parametrize("name", COUNTS)
def test_every_label_is_an_organ_of_its_own(name):
    first, count = COUNTS[name]
    found = organ_labels(name)
    assert list(found) == list(range(first, first + count))
    assert len(set(found.values())) == count, "two labels that became one organ would be united in silence"


@pytest.mark.parametrize("name", COUNTS)
def test_sides_are_those_of_the_names(name):
    for value, word in labels(name).items():
        named = {side for side in ("left", "right") if side in word.lower().replace("_", " ").split()}
        side = anatomy.organs()[organ_labels(name)[value]].side
        assert side in (named or {None, "midline", "bilateral", "left", "right"}), word
        if not named and side in ("left", "right"):
            assert word in ("liver", "spleen", "gallbladder", "stomach"), "these lie on one side; no other does"


@pytest.mark.parametrize(
    ("name", "value", "organ"),
    [
        ("totalsegmentator_ct", 5, "liver"),
        ("totalsegmentator_ct", 26, "vertebra_s1"),
        ("totalsegmentator_ct", 50, "vertebra_c1"),
        ("totalsegmentator_ct", 117, "costal_cartilages"),
        ("totalsegmentator_mr", 19, "vertebrae"),
        ("totalsegmentator_mr", 50, "brain"),
        ("torchxrayvision", 12, "trachea"),
        ("cxas", 38, "right_anterior_rib_11"),
        ("cxas", 82, "ribs_12"),
        ("cxas", 104, "anterior_ribs_1"),
        ("cxas", 134, "lungs"),
        ("cxas", 143, "right_lower_lung_zone"),
        ("cxas", 158, "right_breast"),
    ],
)
def test_labels_by_hand(name, value, organ):
    assert organ_labels(name)[value] == organ


def test_the_tools_agree_with_each_other():
    for label in set(labels("totalsegmentator_ct").values()) & set(labels("totalsegmentator_mr").values()):
        assert anatomy.organ_name(label)
    shared = set(organ_labels("cxas").values()) & set(organ_labels("totalsegmentator_ct").values())
    assert {"left_lower_lobe", "vertebra_t12", "aorta", "right_kidney", "left_scapula"} <= shared


def test_unknown_words_and_lists():
    with pytest.raises(MedclmError, match="no known organ") as caught:
        organs_of({1: "hart", 2: "liver", 3: "lunge"}, "here")
    assert caught.value.details["got"] == "hart, lunge"
    with pytest.raises(UsageError, match="no such list") as caught:
        labels("nobody")
    assert caught.value.details["expected"] == ", ".join(sorted(COUNTS))
