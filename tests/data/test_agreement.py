"""Agreement of the linking rules on 20 x 20 pixel scenes whose areas are counted by hand."""

from __future__ import annotations

from medclm.data import agreement
from medclm.data.agreement import LinkingTally, hosts
from tests.data.helpers import LEFT_LUNG, SIZE_HW, finding, linked_nodule, organ, record

RIB = organ("left_rib_3", "left", (12, 4, 16, 6))
LUNG = organ("left_lung", "left", LEFT_LUNG)


def test_a_small_organ_wins_by_iou_and_loses_by_coverage():
    # nodule (12, 3, 15, 6): 9 px. Lung box 7 x 12: IoU 9/84. Rib box 4 x 2: 6 px shared, IoU 6/11; it covers 6/9.
    one = record([finding()], organs=(LUNG, RIB))
    assert hosts(one.findings[0], one, SIZE_HW, 0.5) == ("left_lung", "left_rib_3")


def test_organs_that_do_not_meet_the_finding_change_nothing():
    far = organ("right_lung", "right", (2, 2, 9, 14))
    one = record([finding()], organs=(LUNG, far))
    assert hosts(one.findings[0], one, SIZE_HW, 0.5) == ("left_lung", "left_lung")
    alone = record([finding()], organs=(far,))
    assert hosts(alone.findings[0], alone, SIZE_HW, 0.5) == ("unclear", "unclear")


def test_summary_counts_and_tells_levels_from_places():
    lobe = organ("left_upper_lobe", "left", (11, 2, 18, 5))
    tally = LinkingTally(4, 0.5)
    tally.add(record([linked_nodule()], organs=(LUNG,)))  # agree
    tally.add(record([linked_nodule()], organs=(LUNG, RIB)))  # lung, rib
    # the lobe covers 6/9 of (12, 3, 15, 6), and box 7 x 3 has IoU 6/24: both rules say the lobe; at 0.7 it is the lung
    tally.add(record([linked_nodule()], organs=(LUNG, lobe)))
    strict = LinkingTally(4, 0.7)
    strict.add(record([linked_nodule()], organs=(LUNG, lobe)))
    assert tally.summary() == {
        "n": 3, "agreed": 2, "rate": 2 / 3, "sampled": False,
        "disagreements": [{"coverage": "left_lung", "iou_argmax": "left_rib_3", "count": 1, "nested": False}],
    }  # fmt: skip
    assert strict.summary()["disagreements"] == [
        {"coverage": "left_lung", "iou_argmax": "left_upper_lobe", "count": 1, "nested": True}
    ]


def test_rows_with_nothing_to_compare_and_large_datasets(monkeypatch):
    tally = LinkingTally(0, 0.5)
    tally.add(record([linked_nodule()], organs=()))
    tally.add(record([]))
    assert tally.summary() == {"n": 0, "agreed": 0, "rate": None, "sampled": False, "disagreements": []}
    monkeypatch.setattr(agreement, "MAX_FINDINGS", 50)
    large = LinkingTally(200, 0.5)
    for n in range(200):
        large.add(record([linked_nodule()], image_id=f"i{n}", organs=(LUNG,)))
    assert large.summary()["sampled"] is True
    assert 30 < large.summary()["n"] < 70
