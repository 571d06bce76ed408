from __future__ import annotations

from collections import Counter

import pytest

from medclm.data.agreement import LinkingTally
from medclm.data.blind import BlindTally
from medclm.data.tally import Tally, balance, ranked
from tests.data.helpers import finding, linked_nodule, record


def test_balance_by_hand():
    # 2 : 1 : 1 has entropy 1.5 bits of log2(3)
    assert balance(Counter(a=2, b=1, c=1, d=0)) == {
        "classes": 3, "largest_share": 0.5, "evenness": pytest.approx(1.5 / 1.584962500721156),
    }  # fmt: skip
    assert balance(Counter(a=3, b=3))["evenness"] == pytest.approx(1)
    assert balance(Counter()) == {"classes": 0, "largest_share": None, "evenness": None}


def test_ranked():
    assert list(ranked(Counter(b=1, a=1, c=2, d=0)).items()) == [("c", 2), ("a", 1), ("b", 1)]
    assert ranked(Counter(b=1, a=1, c=2), 2) == {"c": 2, "a": 1}


def test_one_pass_counts_sources_areas_and_splits():
    tally = Tally(BlindTally(), LinkingTally(2, 0.5))
    tally.add(record([linked_nodule(), finding(n=2, box_xyxy=(0.0, 0.0, 20.0, 20.0))], patient_id="p1"))
    tally.add(record([], patient_id="p1", split="test", organs=()))
    assert tally.patients == {"p1": {"train", "test"}}
    assert tally.counts["area"] == {"2 – 10 %": 1, "over 10 %": 1}  # 9 and 400 of 400 pixels
    assert tally.counts["organs_by_source"] == {"masks": 2}
    assert ranked(tally.counts["images_by_source"]) == {"masks": 1, "none": 1}
    assert tally.counts["organ"] == {"left_lung": 1, "unclear": 1}
    assert tally.pictures.exact()["groups_across_splits"] == 1
