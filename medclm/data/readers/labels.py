"""Image-level labels from a CSV table: findings known of the whole image, without a place.

Two forms are read: one column a finding, with 1 for present, 0 for absent, -1 for uncertain and blank for not
mentioned (CheXpert, MIMIC-CXR); and one column that lists the findings (NIH ``Data_Entry_2017.csv`` with ``|`` between
them, PadChest with a Python list of texts).
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

from medclm.data import harmonise
from medclm.data.readers.base import IMAGE_SUFFIXES, SPLITS, ReadResult, Refused, label_name
from medclm.data.readers.collect import Collector
from medclm.data.readers.label_columns import CHEXPERT, MIMIC_CXR, NIH_LABELS, PADCHEST, LabelColumns
from medclm.data.readers.rows import Row, read_rows
from medclm.errors import UsageError

Uncertain = Literal["present", "absent", "unknown"]
CELLS = {"1": "present", "0": "absent", "-1": "uncertain"}
"""What a cell of a finding's column says; "1.0" is "1"."""


def read_labels(
    images: str,
    annotations: str,
    dataset: str,
    columns: dict[str, Any] | LabelColumns | None = None,
    uncertain: Uncertain = "unknown",
    delimiter: str = ",",
    reader: str = "labels",
    table: str = "",
) -> ReadResult:
    """Read a CSV table of image-level labels. Images that no row names are left out.

    Args:
        images: folder of the images, any fsspec address.
        annotations: the table, any fsspec address.
        dataset: name that the records carry.
        columns: a :class:`LabelColumns`, or its fields.
        uncertain: what -1 means: the finding is there, it is not, or neither is known.
        reader: name that the records' sources carry.
        table: whose label table says what the labels mean (:mod:`medclm.data.harmonise`); of ``dataset`` when empty.

    ``Record.labels`` are the findings that the table says are there, ``labels_absent`` those that it denies: by a 0, by
    "no finding" and nothing else in a complete list, or by not being in an exhaustive one. What rows of one image
    contradict each other in is neither, and noted; so is a table that denies nothing, because no question can then be
    answered with "no". All images are ``incomplete`` but those with "no finding" in a complete list. Words that the
    label table knows to be no finding ("unchanged", "exclude") are left out and noted: nobody should be asked whether
    there is an unchanged.

    Raises:
        UsageError: the map or ``uncertain`` is wrong. MedclmError: the table cannot be read or lacks a column.
    """
    if uncertain not in ("present", "absent", "unknown"):
        raise UsageError(
            "there is no such reading of -1", got=uncertain, expected="uncertain: present, absent or unknown"
        )
    reading = _Labels(Collector(images, dataset, reader), LabelColumns.of(columns), uncertain, table or dataset)
    for row in read_rows(annotations, reading.columns.columns, delimiter):
        reading.take(row)
    return reading.finish()


def read_nih_labels(images: str, annotations: str, dataset: str) -> ReadResult:
    """Read NIH ChestX-ray14, ``Data_Entry_2017.csv``. Arguments and errors as in :func:`read_labels`."""
    return read_labels(images, annotations, dataset, NIH_LABELS, reader="nih-labels", table="nih")


def read_chexpert(images: str, annotations: str, dataset: str, uncertain: Uncertain = "unknown") -> ReadResult:
    """Read CheXpert, ``train.csv`` or ``valid.csv``. Arguments and errors as in :func:`read_labels`."""
    return read_labels(images, annotations, dataset, CHEXPERT, uncertain, reader="chexpert", table="chexpert")


def read_mimic_cxr(images: str, annotations: str, dataset: str, uncertain: Uncertain = "unknown") -> ReadResult:
    """Read MIMIC-CXR-JPG, ``mimic-cxr-2.0.0-chexpert.csv.gz``. Arguments and errors as in :func:`read_labels`."""
    return read_labels(images, annotations, dataset, MIMIC_CXR, uncertain, reader="mimic-cxr", table="mimic-cxr")


def read_padchest(images: str, annotations: str, dataset: str) -> ReadResult:
    """Read PadChest, ``PADCHEST_chest_x_ray_images_labels_160K.csv.gz``. Arguments and errors as in
    :func:`read_labels`."""
    return read_labels(images, annotations, dataset, PADCHEST, reader="padchest", table="padchest")


class _Labels:
    """What the table says of each image, row by row."""

    def __init__(self, collector: Collector, columns: LabelColumns, uncertain: Uncertain, table: str) -> None:
        self.collector, self.columns, self.uncertain, self.table = collector, columns, uncertain, table
        self.said: dict[str, dict[str, set[str]]] = defaultdict(lambda: {"present": set(), "absent": set()})
        self.clear: set[str] = set()
        self.names: set[str] = set()  # every finding that the table has
        self.words: Counter[str] = Counter()  # what is present and no finding

    def take(self, row: Row) -> None:
        """Takes one row in, or sets it aside."""
        try:
            names = self._names(row)
        except Refused as error:
            return self.collector.refuse(error, "", row.where)
        for name in names:
            image_id = self.collector.image(name, row.where, self._id(name))
            if image_id is None:
                continue
            with self.collector.entry(image_id, row.where, f"{image_id}:{row.index}"):
                self.collector.describe(image_id, **self._fields(row, image_id))
                said = list(self._listed(row) if self.columns.listed else self._cells(row))
                for raw, answer in said:
                    self._say(image_id, raw, answer)
        return None

    def _names(self, row: Row) -> list[str]:
        """The image that a row names, or those in the folder of its study."""
        columns = self.columns
        if not columns.study_folder:
            if name := row.text(columns.image):
                return [name]
            raise Refused("bad-row", f"column {columns.image!r} names no image")
        folder = columns.study_folder.format_map({column: row.text(column) for column in columns.study_columns})
        if folder in self._folders:
            return self._folders[folder]
        raise Refused("missing-image", f"there is no folder {folder!r} with images")

    @cached_property
    def _folders(self) -> dict[str, list[str]]:
        """Files by the name of the folder they are in."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in self.collector.listing.files:
            if path.lower().endswith(IMAGE_SUFFIXES):
                found[posixpath.basename(posixpath.dirname(path))].append(path)
        return dict(found)

    def _id(self, name: str) -> str:
        parts = name.replace("\\", "/").rpartition(".")[0].split("/")
        return "_".join(parts[-self.columns.id_parts :]) if self.columns.id_parts > 1 else ""

    def _fields(self, row: Row, image_id: str) -> dict[str, Any]:
        columns = self.columns
        split = row.text(columns.split)
        if split and split.lower() not in SPLITS:
            raise Refused("bad-row", f"{columns.split} must be one of {', '.join(SPLITS)}, got {split!r}")
        prefix = re.match(columns.patient_pattern, image_id) if columns.patient_pattern else None
        return {
            "patient_id": row.text(columns.patient) or (prefix[1] if prefix else ""),
            "study_id": row.text(columns.study),
            "view": row.text(columns.view),
            "plane": row.text(columns.plane).lower(),
            "modality": row.text(columns.modality),
            "split": SPLITS.get(split.lower()),
        }

    def _cells(self, row: Row) -> Iterator[tuple[str, str]]:
        """(raw label, "present", "absent" or "uncertain") of a row with a column a finding."""
        for column in self.columns.labels:
            if cell := row.text(column).removesuffix(".0"):
                if cell not in CELLS:
                    raise Refused("bad-row", f"{column} must be 1, 0, -1 or blank, got {cell!r}")
                yield column, CELLS[cell]

    def _listed(self, row: Row) -> Iterator[tuple[str, str]]:
        cell = row.text(self.columns.listed)
        for label in _python_list(cell) if cell.startswith("[") else cell.split(self.columns.separator):
            if label.strip():
                yield label.strip(), "present"

    def _say(self, image_id: str, raw: str, answer: str) -> None:
        kind = harmonise.meaning(raw, self.table).kind
        if kind in ("no-finding", "kept"):
            if answer == "present" and kind == "kept":
                self.words[raw] += 1
            elif answer == "present":
                self.clear.add(image_id)
            return
        name = label_name(raw, self.table)
        self.names.add(name)
        answer = self.uncertain if answer == "uncertain" else answer
        if answer != "unknown":
            self.said[image_id][answer].add(name)

    def finish(self) -> ReadResult:
        """The result: what was said of each image, without contradictions."""
        collector, disputed, denies = self.collector, 0, False
        for image_id in collector:
            present, absent = self.said[image_id]["present"], self.said[image_id]["absent"]
            denied = self.columns.complete and image_id in self.clear and not present
            if denied or self.columns.exhaustive:
                absent = absent | (self.names - present)
            denies = denies or bool(absent)
            both = present & absent
            disputed += bool(both)
            collector.describe(
                image_id, labels=tuple(sorted(present - both)), labels_absent=tuple(sorted(absent - both))
            )
            if not denied:
                collector.incomplete.add(image_id)
        if not denies and self.names:
            collector.notes.append("the table says of no image what is absent: no question has the answer no")
        if self.words:
            told = ", ".join(f"{word} ({count})" for word, count in sorted(self.words.items()))
            collector.notes.append(f"labels left out that are no findings: {told}")
        if disputed:
            collector.notes.append(f"{disputed} images have a label both present and absent; it counts as unknown")
        return collector.result(**self.columns.fixed)


def _python_list(cell: str) -> list[str]:
    """PadChest's ``['a', 'b']``. Refused (bad-row) where it is no list of texts."""
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        found = None
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Refused("bad-row", f"expected a Python list of texts, got {cell!r}")
    return found
