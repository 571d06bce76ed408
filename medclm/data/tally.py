"""The tally of a dataset: what one pass over its records gathers for the report. Counters and ids, never pictures."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from medclm.data import anatomy
from medclm.data.agreement import LinkingTally
from medclm.data.blind import BlindTally
from medclm.data.duplicates import PictureIndex
from medclm.data.records import UNCLEAR, Record

AREA_BINS = (
    (0.001, "under 0.1 %"),
    (0.005, "0.1 – 0.5 %"),
    (0.02, "0.5 – 2 %"),
    (0.1, "2 – 10 %"),
    (1.01, "over 10 %"),
)
"""Upper ends (exclusive) of the share of the picture that a finding's box covers."""
SPLIT_ORDER = {"train": 0, "validate": 1, "test": 2}


def _counters() -> dict[str, Counter]:
    return defaultdict(Counter)


@dataclass
class Tally:
    """Attributes: counters by name (``splits`` by split; ``counts`` by what is counted), and the collectors beside."""

    blind: BlindTally
    linking: LinkingTally
    pictures: PictureIndex = field(default_factory=PictureIndex)
    splits: dict[str, Counter] = field(default_factory=_counters)
    counts: dict[str, Counter] = field(default_factory=_counters)
    difficulty: dict[str, Counter] = field(default_factory=_counters)
    patients: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, record: Record) -> None:
        """Counts one row."""
        split = record.split or "none"
        self.splits[split].update(images=1, findings=len(record.findings), questions=len(record.questions))
        self.patients[record.patient_id].add(split)
        self._add_image(record)
        self._add_findings(record)
        for question in record.questions:
            self.blind.add(question, split)
            self.counts["type"][question.type] += 1
            self.counts["generator"][question.generator] += 1
            self.difficulty[question.type][question.difficulty] += 1
            self.counts["choices"][len(question.choices) if question.choices is not None else 0] += 1
        if record.image is not None:
            self.pictures.add(record.image_id, record.patient_id, split, record.image.bytes)
        self.linking.add(record)

    def _add_image(self, record: Record) -> None:
        self.counts["modality"][" ".join(part for part in (record.modality, record.view) if part) or "unknown"] += 1
        places = bool(record.findings)
        known = "with boxes" if places else "labels without a place" if record.labels else "without finding"
        self.counts["images"][known] += 1
        self.counts["images with an earlier one"]["n"] += record.prior is not None
        self.counts["labels"].update(record.labels)
        self.counts["labels_absent"].update(record.labels_absent)
        self.counts["organs_by_source"].update(organ.source for organ in record.organs)
        self.counts["images_by_source"].update({organ.source for organ in record.organs})
        self.counts["images_by_source"]["none"] += not record.organs
        for label in (*record.labels, *record.labels_absent):
            if anatomy.finding_name(label) is None:
                self.counts["unknown_labels"][label] += 1

    def _add_findings(self, record: Record) -> None:
        for finding in record.findings:
            self.counts["label"][finding.label] += 1
            self.counts["organ"][finding.organ or UNCLEAR] += 1
            self.counts["side"][finding.side or "none"] += 1
            self.counts["zone"][finding.zone or "none"] += 1
            if anatomy.finding_name(finding.label) is None:
                self.counts["unknown_labels"][finding.label_raw or finding.label] += 1
            if record.image is not None:
                x1, y1, x2, y2 = finding.box_xyxy
                share = (x2 - x1) * (y2 - y1) / (record.image.width * record.image.height)
                self.counts["area"][next(name for end, name in AREA_BINS if share < end)] += 1


def ranked(counts: Counter, most: int | None = None) -> dict[str, int]:
    """Counts, largest first and equal ones by name. (In JSON files keys are sorted: rank by value there.)"""
    order = sorted(((str(key), n) for key, n in counts.items() if n), key=lambda pair: (-pair[1], pair[0]))
    return dict(order[:most])


def balance(counts: Counter) -> dict[str, Any]:
    """How even a distribution is.

    Returns:
        ``classes``; ``largest_share``; ``evenness``: Shannon entropy over log(classes), 1 for equal shares and 0 for a
        single class (Pielou 1966); both None where nothing was counted.
    """
    values = [n for n in counts.values() if n]
    total = sum(values)
    if not total:
        return {"classes": 0, "largest_share": None, "evenness": None}
    entropy = -sum(n / total * math.log(n / total) for n in values)
    evenness = entropy / math.log(len(values)) if len(values) > 1 else 0.0
    return {"classes": len(values), "largest_share": max(values) / total, "evenness": evenness}
