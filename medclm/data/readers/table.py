"""CSV tables of boxes, one row a box, read by a map of their columns.

A row says one of three things: a box with a label; that nothing was found (its label is one of "no finding", or its
presence column says no); or, with a label and blank box cells, that the whole image has the finding somewhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, Literal

from pydantic import Field, model_validator

from medclm.data import boxes, harmonise
from medclm.data.readers.base import SPLITS, ReadResult, Refused, label_name, make_finding
from medclm.data.readers.collect import Collector
from medclm.data.readers.column_map import Columns
from medclm.data.readers.consensus import RATER, Consensus, agree
from medclm.data.readers.rows import Row, read_rows
from medclm.data.records import BoxXyxy
from medclm.errors import UsageError

ABSENT = {"", "0", "0.0", "no", "false", "negative", "absent"}
"""What a presence column says of an image without the finding, lower case."""
SHARED = Literal["label", "modality", "plane", "view"]


class ColumnMap(Columns):
    """Which column says what; "" where none does. Names are the header's, without blanks at either end.

    Attributes:
        image: file name, path, or file name without its extension.
        label: of the finding.
        x1, y1, x2, y2: corners in pixels from 0, x2 and y2 exclusive; or
        x, y, w, h: corner and extent.
        width, height: of the picture, in pixels.
        patient, study, view, modality, split: of the image.
        rater: who marked the row.
        present: whether there is anything (see :data:`ABSENT`).
        attributes: columns that become attributes of the finding, by their own names.
        no_finding: labels that say that nothing was found, beside those that :mod:`medclm.data.harmonise` knows.
        fixed: what no column says because it is the same in every row.
    """

    image: str = Field(min_length=1)
    label: str = ""
    x1: str = ""
    y1: str = ""
    x2: str = ""
    y2: str = ""
    x: str = ""
    y: str = ""
    w: str = ""
    h: str = ""
    width: str = ""
    height: str = ""
    patient: str = ""
    study: str = ""
    view: str = ""
    modality: str = ""
    split: str = ""
    rater: str = ""
    present: str = ""
    attributes: tuple[str, ...] = ()
    no_finding: tuple[str, ...] = ()
    fixed: dict[SHARED, str] = Field(default={})

    @model_validator(mode="after")
    def _whole(self) -> ColumnMap:
        corners, extents = (self.x1, self.y1, self.x2, self.y2), (self.x, self.y, self.w, self.h)
        whole, empty = (corners, extents) if any(corners) else (extents, corners)
        if not all(whole) or any(empty):
            raise ValueError("name the columns x1, y1, x2, y2 or the columns x, y, w, h")
        if bool(self.label) == ("label" in self.fixed):
            raise ValueError("name the column of the label, or fix one label")
        if bool(self.width) != bool(self.height):
            raise ValueError("name both width and height, or neither")
        return self

    @property
    def box(self) -> tuple[str, str, str, str]:
        """The four columns of the box."""
        return (self.x1, self.y1, self.x2, self.y2) if self.x1 else (self.x, self.y, self.w, self.h)

    @property
    def columns(self) -> list[str]:
        """Every column that the table must have."""
        own = ("image", "label", "width", "height", "patient", "study", "view", "modality", "split", "rater", "present")
        named = [getattr(self, name) for name in own]
        return [column for column in (*named, *self.box, *self.attributes) if column]


def read_table(
    images: str,
    annotations: str,
    dataset: str,
    columns: dict[str, Any] | ColumnMap | None = None,
    consensus: Consensus = "all",
    positives_only: bool = False,
    delimiter: str = ",",
    reader: str = "csv",
) -> ReadResult:
    """Read a CSV table of boxes. Images that no row names are left out.

    Args:
        images: folder of the images, any fsspec address.
        annotations: the table, any fsspec address.
        dataset: name that the records carry.
        columns: a :class:`ColumnMap`, or its fields.
        consensus: what becomes of the marks of several people (column ``rater``): :mod:`medclm.data.readers.consensus`.
            ``all`` keeps each one's, with who it is as an attribute.
        positives_only: the table does not name every finding of its images, so that none may be concluded absent.
        reader: name that sources carry, whose label table is used.

    Images are ``incomplete`` where a finding was refused or outvoted, and with ``all`` where several people marked
    findings, or somebody found nothing and another something.

    Raises:
        UsageError: the map or ``consensus`` is wrong. MedclmError: the table cannot be read or lacks a column.
    """
    table = _Table(images, dataset, ColumnMap.of(columns), reader)
    if consensus not in ("all", "majority", "wbf"):
        raise UsageError("there is no such consensus", got=consensus, expected="all, majority or wbf")
    if consensus != "all" and not table.columns.rater:
        raise UsageError("a consensus needs to know who marked each box", expected="the column `rater` in the map")
    for row in read_rows(annotations, table.columns.columns, delimiter):
        table.take(row)
    return table.finish(consensus, positives_only)


class _Table:
    """A table as it is read, row by row."""

    def __init__(self, images: str, dataset: str, columns: ColumnMap, reader: str) -> None:
        self.columns = columns
        self.collector = Collector(images, dataset, reader, skip=(".csv", ".csv.gz", ".tsv"))
        self.raters: dict[str, set[str]] = defaultdict(set)
        self.clear: dict[str, set[str]] = defaultdict(set)  # who says that nothing was found
        self.labels: dict[str, list[str]] = defaultdict(list)

    def take(self, row: Row) -> None:
        """Takes one row in, or sets it aside."""
        try:
            name = row.text(self.columns.image)
            if not name:
                raise Refused("bad-row", f"column {self.columns.image!r} names no image")
        except Refused as error:
            return self.collector.refuse(error, "", row.where)
        image_id = self.collector.image(name, row.where)
        if image_id is None:
            return None
        finding_id = f"{image_id}:{row.index}"
        with self.collector.entry(image_id, row.where, finding_id):
            self.collector.describe(image_id, **self._fields(row, image_id))
            self._statement(row, image_id, finding_id)

    def _fields(self, row: Row, image_id: str) -> dict[str, Any]:
        """What a row says of its image."""
        columns = self.columns
        split = row.text(columns.split)
        if split and split.lower() not in SPLITS:
            raise Refused("bad-row", f"{columns.split} must be one of {', '.join(SPLITS)}, got {split!r}")
        prefix = re.match(columns.patient_pattern, image_id) if columns.patient_pattern else None
        return {
            "patient_id": row.text(columns.patient) or (prefix[1] if prefix else ""),
            "study_id": row.text(columns.study),
            "view": row.text(columns.view),
            "modality": row.text(columns.modality),
            "split": SPLITS.get(split.lower()),
        }

    def _statement(self, row: Row, image_id: str, finding_id: str) -> None:
        columns, reader = self.columns, self.collector.reader
        rater = row.text(columns.rater)
        if columns.rater and not rater:
            raise Refused("bad-row", f"column {columns.rater!r} names nobody")
        self.raters[image_id].add(rater)
        label = row.text(columns.label) or columns.fixed.get("label", "")
        absent = columns.present != "" and row.text(columns.present).lower() in ABSENT
        if absent or label in columns.no_finding or harmonise.meaning(label, reader).kind == "no-finding":
            self.clear[image_id].add(rater)
            return
        if label and not any(row.text(column) for column in columns.box):
            self.labels[image_id].append(label_name(label, reader))
            return
        size = [row.number(column) for column in (columns.height, columns.width) if column]
        size_hw = (int(size[0]), int(size[1])) if size else None
        attributes = {column: row.text(column) for column in columns.attributes} | ({RATER: rater} if rater else {})
        finding = make_finding(
            finding_id, label, self._box(row), reader, size_hw, attributes=attributes, notes=self.collector.notes
        )
        self.collector.add(image_id, finding)

    def _box(self, row: Row) -> BoxXyxy:
        a, b, c, d = (row.number(column) for column in self.columns.box)
        return (a, b, c, d) if self.columns.x1 else boxes.box_from_xywh((a, b, c, d))

    def finish(self, consensus: Consensus, positives_only: bool) -> ReadResult:
        """The result, with the marks of several people put together."""
        collector = self.collector
        outvoted = 0
        for image_id in collector:
            findings, people = collector.findings(image_id), self.raters[image_id]
            collector.describe(image_id, labels=tuple(sorted(set(self.labels[image_id]))))
            if consensus == "all":
                disputed = bool(findings) and (len(people) > 1 or bool(self.clear[image_id]))
            else:
                kept, lost = agree(findings, len(people), consensus)
                collector.replace(image_id, kept)
                outvoted, disputed = outvoted + lost, lost > 0
            if positives_only or disputed:
                collector.incomplete.add(image_id)
        if outvoted:
            collector.notes.append(f"{outvoted} findings that half of an image's readers or fewer marked were left out")
        return collector.result(**{name: text for name, text in self.columns.fixed.items() if name != "label"})
