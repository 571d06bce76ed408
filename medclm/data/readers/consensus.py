"""One set of findings from several people who marked the same image.

1. Boxes of one label are grouped. Two boxes of different people can share a group when their intersection over union
   is at least :data:`MIN_IOU`; pairs are taken from the most to the least alike, and two groups are joined where every
   pair across them reaches it and no person would be in the joined group twice. The order of the rows does not matter,
   but between pairs that are exactly as alike.
2. ``majority``: a group stays where more than half of the people who looked at the image are in it; its box is the
   median of the members', coordinate by coordinate.
   ``wbf``: every group stays; its box is the members' mean, which is weighted boxes fusion (Solovyev et al. 2021,
   section 3) where all boxes are trusted alike.
3. The finding keeps what its members agree on, and says how many they were (``readers``) of how many
   (``readers_of_image``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from medclm.data import boxes
from medclm.data.records import Finding

MIN_IOU = 0.4
RATER = "reader"
"""Attribute that says who marked a finding."""
Consensus = Literal["all", "majority", "wbf"]


def groups(boxes_xyxy: np.ndarray, raters: Sequence[str], min_iou: float = MIN_IOU) -> list[list[int]]:
    """Indices of the boxes that mean one thing (step 1).

    Args:
        boxes_xyxy: (N, 4) boxes of one label in one image.
        raters: who marked each.

    Returns:
        Every index once; each group sorted, groups by their first index.
    """
    count = len(raters)
    alike = boxes.iou_xyxy(boxes_xyxy, boxes_xyxy)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count) if alike[i, j] >= min_iou]
    group_of = {index: [index] for index in range(count)}
    for i, j in sorted(pairs, key=lambda pair: (-alike[pair], pair)):
        a, b = group_of[i], group_of[j]
        strangers = {raters[k] for k in a}.isdisjoint(raters[k] for k in b)
        if a is not b and strangers and alike[np.ix_(a, b)].min() >= min_iou:
            joined = sorted(a + b)
            group_of |= dict.fromkeys(joined, joined)
    return sorted({id(group): group for group in group_of.values()}.values())


def agree(findings: Sequence[Finding], people: int, how: Literal["majority", "wbf"]) -> tuple[list[Finding], int]:
    """The findings of one image that its readers agree on (steps 2 and 3).

    Args:
        findings: of every reader, each with the attribute :data:`RATER`; masks are not carried over.
        people: how many looked at the image, also those who marked nothing.

    Returns:
        The findings in the order of their first members, and how many groups were outvoted.
    """
    by_label: dict[str, list[Finding]] = {}
    for finding in findings:
        by_label.setdefault(finding.label_raw, []).append(finding)
    kept, outvoted = [], 0
    for same in by_label.values():
        raters = [finding.attributes[RATER] for finding in same]
        for group in groups(np.array([finding.box_xyxy for finding in same]), raters):
            if how == "majority" and 2 * len(group) <= people:
                outvoted += 1
            else:
                kept.append(_fused([same[index] for index in group], people, how))
    order = {finding.id: index for index, finding in enumerate(findings)}
    return sorted(kept, key=lambda finding: order[finding.id]), outvoted


def _fused(members: list[Finding], people: int, how: str) -> Finding:
    corners = np.array([finding.box_xyxy for finding in members])
    middle = np.median(corners, axis=0) if how == "majority" else corners.mean(axis=0)
    first = members[0]
    shared = {
        key: value
        for key, value in first.attributes.items()
        if key != RATER and all(member.attributes.get(key) == value for member in members)
    }
    said = {**shared, "readers": str(len(members)), "readers_of_image": str(people)}
    return first.model_copy(update={"box_xyxy": tuple(middle.tolist()), "mask_rle": None, "attributes": said})
