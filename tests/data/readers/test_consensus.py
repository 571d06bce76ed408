"""Consensus of several readers, on intervals whose overlaps are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data.boxes import iou_xyxy
from medclm.data.readers.base import make_finding
from medclm.data.readers.consensus import agree, groups


def strip(x1, x2):
    """A box of height 1: overlaps are those of the intervals."""
    return (x1, 0, x2, 1)


def found(*marks):
    """Findings from (reader, label, x1, x2)."""
    return [
        make_finding(f"i:{n}", label, strip(x1, x2), "vindr", attributes={"reader": reader, "quality": "good"})
        for n, (reader, label, x1, x2) in enumerate(marks)
    ]


@pytest.mark.parametrize(
    ("intervals", "raters", "expected"),
    [
        ([(0, 10), (2, 12), (1, 11)], "abc", [[0, 1, 2]]),  # 8/12, 9/11, 9/11
        ([(0, 10), (2, 12), (1, 11)], "aba", [[0], [1, 2]]),  # nobody twice: the closer pair with b wins, 9/11
        ([(0, 10), (4, 14)], "ab", [[0, 1]]),  # 6/14 = 0.43
        ([(0, 10), (5, 15)], "ab", [[0], [1]]),  # 5/15 = 0.33
        ([(0, 7), (3, 10)], "ab", [[0, 1]]),  # 4/10: the limit belongs to it
        ([(0, 10), (3, 13), (6, 16)], "abc", [[0, 1], [2]]),  # 7/13 twice, but 4/16 across: no chain
        ([(6, 16), (3, 13), (0, 10)], "abc", [[0, 1], [2]]),
        ([(0, 1)], "a", [[0]]),
    ],
)
def test_groups(intervals, raters, expected):
    assert groups(np.array([strip(*interval) for interval in intervals]), raters) == expected


intervals = st.tuples(st.integers(0, 30), st.integers(1, 15)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(st.tuples(intervals, st.sampled_from("abc")), min_size=1, max_size=9))
@settings(max_examples=200, deadline=None)
def test_groups_keep_their_promises(marks):
    boxes_xyxy = np.array([strip(*interval) for interval, _ in marks])
    raters = [rater for _, rater in marks]
    result = groups(boxes_xyxy, raters)
    assert sorted(index for group in result for index in group) == list(range(len(marks)))
    alike = iou_xyxy(boxes_xyxy, boxes_xyxy)
    for group in result:
        assert len({raters[index] for index in group}) == len(group)
        assert alike[np.ix_(group, group)].min() >= 0.4
    for i, a in enumerate(result):  # nothing that could be joined is left apart
        for b in result[i + 1 :]:
            strangers = {raters[k] for k in a}.isdisjoint(raters[k] for k in b)
            assert not (strangers and alike[np.ix_(a, b)].min() >= 0.4)


def test_majority_takes_the_median_and_counts_the_silent():
    marks = found(("a", "Nodule", 0, 10), ("b", "Nodule", 2, 12), ("c", "Nodule", 1, 14), ("a", "Mass", 0, 10))
    kept, outvoted = agree(marks, 3, "majority")
    assert [(f.id, f.label, f.box_xyxy) for f in kept] == [("i:0", "nodule", (1, 0, 12, 1))]
    assert kept[0].attributes == {"quality": "good", "readers": "3", "readers_of_image": "3"}
    assert outvoted == 1
    assert agree(marks[:2], 4, "majority") == ([], 1)  # two of four are no majority
    assert len(agree(marks[:2], 3, "majority")[0]) == 1


def test_wbf_takes_the_mean_and_keeps_every_group():
    marks = found(("a", "Nodule", 0, 10), ("b", "Nodule", 2, 12), ("c", "Nodule", 1, 14), ("a", "Mass", 0, 10))
    kept, outvoted = agree(marks, 3, "wbf")
    assert [(f.id, f.label, f.box_xyxy, f.attributes["readers"]) for f in kept] == [
        ("i:0", "nodule", (1, 0, 12, 1), "3"),
        ("i:3", "mass", (0, 0, 10, 1), "1"),
    ]
    assert outvoted == 0


def test_what_members_do_not_share_is_left_out():
    a, b = found(("a", "Nodule", 0, 10), ("b", "Nodule", 0, 10))
    b = b.model_copy(update={"attributes": {"reader": "b", "quality": "poor"}})
    assert agree([a, b], 2, "majority")[0][0].attributes == {"readers": "2", "readers_of_image": "2"}


def test_one_reader_is_a_majority_of_one():
    assert len(agree(found(("a", "Nodule", 0, 10)), 1, "majority")[0]) == 1
