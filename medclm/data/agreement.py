"""Agreement of the two linking rules: how often arg max IoU names the organ that coverage names (METHOD section 1).

Both hosts are recomputed by :func:`medclm.data.link.link` from the row itself: the run-length masks of its organs and
the boxes or masks of its findings. So the figure is the same whichever rule built the dataset.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from medclm.data import anatomy, boxes, link
from medclm.data.records import Finding, Record

MAX_FINDINGS = 5000
"""Of a larger dataset about this many findings are compared, drawn by the hash of their image's id."""
TOP = 12


class LinkingTally:
    """Compares the rules on the findings of a dataset, one record at a time.

    Args:
        findings: number of findings of the dataset, which sets the share of images that is drawn.
        min_coverage: the least coverage that makes a host, as in the build.
    """

    def __init__(self, findings: int, min_coverage: float) -> None:
        self.share = min(1.0, MAX_FINDINGS / findings) if findings else 1.0
        self.min_coverage = min_coverage
        self.pairs: Counter[tuple[str, str]] = Counter()

    def add(self, record: Record) -> None:
        """Rows without a picture, without organs or without findings are passed over."""
        if record.image is None or not record.organs or not record.findings or not self._is_drawn(record.image_id):
            return
        size_hw = (record.image.height, record.image.width)
        for finding in record.findings:
            self.pairs[hosts(finding, record, size_hw, self.min_coverage)] += 1

    def _is_drawn(self, image_id: str) -> bool:
        point = int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big") / 2**64
        return point < self.share

    def summary(self) -> dict[str, Any]:
        """``n``, ``agreed``, ``rate`` (None where nothing was compared), ``sampled``, and the most frequent
        ``disagreements``: ``coverage``, ``iou_argmax``, ``count``, and ``nested``, true when one of the two organs lies
        in the other, which is a difference of level and not of place.
        """
        n = self.pairs.total()
        agreed = sum(count for (one, two), count in self.pairs.items() if one == two)
        ranked = sorted(((pair, count) for pair, count in self.pairs.items() if pair[0] != pair[1]), key=_rank)
        return {
            "n": n,
            "agreed": agreed,
            "rate": agreed / n if n else None,
            "sampled": self.share < 1,
            "disagreements": [
                {"coverage": one, "iou_argmax": two, "count": count, "nested": _is_nested(one, two)}
                for (one, two), count in ranked[:TOP]
            ],
        }


def _rank(entry: tuple[tuple[str, str], int]) -> tuple[int, tuple[str, str]]:
    return -entry[1], entry[0]


def _is_nested(one: str, two: str) -> bool:
    known = anatomy.organs()
    return one in known and two in known and (one in anatomy.organ_path(two) or two in anatomy.organ_path(one))


def hosts(finding: Finding, record: Record, size_hw: tuple[int, int], min_coverage: float) -> tuple[str, str]:
    """The host organ by coverage and by IoU-argmax; "unclear" where a rule finds none.

    An organ whose box does not meet the finding's has coverage 0 and IoU 0, so its mask is not decoded.
    """
    near = [
        organ for organ in record.organs if organ.name in anatomy.organs() and _meet(organ.box_xyxy, finding.box_xyxy)
    ]
    masks = {organ.name: boxes.decode_rle(organ.rle, size_hw) for organ in near}
    blank = np.zeros(size_hw, np.float32)
    by_rule = [
        link.link(finding, link.Scene(blank, masks, None, False, min_coverage, method)).organ or ""
        for method in ("coverage", "iou-argmax")
    ]
    return by_rule[0], by_rule[1]


def _meet(one: tuple[float, ...], two: tuple[float, ...]) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
