"""What the loaders of public sets share: question files row by row, pictures by name, counts against what is published.

The published counts are those of METHOD section 4 and of the papers named there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medclm import storage
from medclm.data.readers.base import Listing, Refused
from medclm.data.readers.vqa_layouts import LAYOUTS, Asked, read_questions
from medclm.errors import MedclmError, UsageError
from medclm.eval.benchmarks import Item

COUNTS: dict[tuple[str, str], tuple[int, int | None]] = {
    ("vqa-rad", "trainset.json"): (3064, None),
    ("vqa-rad", "testset.json"): (451, 272),
    ("vqa-rad copy", "train"): (1793, None),
    ("vqa-rad copy", "test"): (451, None),
    ("slake en", "train"): (4919, None),
    ("slake en", "validate"): (1053, None),
    ("slake en", "test"): (1061, 416),
    ("pathvqa", "test"): (6719, 3362),
    ("pmc-vqa", "test_2.csv"): (2000, 2000),
}
"""(set, file or split) to (questions, of which closed where that is published)."""


@dataclass(frozen=True)
class Asking:
    """A row of a question file: its place for messages, what it asks, and the row itself."""

    where: str
    asked: Asked
    row: dict[str, Any]


@dataclass(frozen=True)
class Read:
    """A question file: its usable rows, and those that cannot be used."""

    rows: list[Asking]
    bad: list[dict[str, Any]]
    notes: list[str]


def read_file(address: str, source: str) -> Read:
    """The questions of one file of a source in :data:`medclm.data.readers.vqa_layouts.LAYOUTS`.

    Returns:
        ``notes`` counts the rows that cannot be used and gives the first one's fault.

    Raises:
        UsageError: the file is not there. MedclmError: it cannot be read, or none of its rows can be used.
    """
    if not storage.exists(address):
        raise UsageError(
            "the benchmark's question file is missing", where=address, remedy="check the folder after NAME:"
        )
    layout = LAYOUTS[source]
    found, bad, faults = [], [], []
    for where, row in read_questions(address, layout.keys):
        try:
            found.append(Asking(where, layout.parse(row), row))
        except Refused as error:
            bad.append(row)
            faults.append(f"{where}: {error.detail}")
    if faults and not found:
        raise MedclmError("no row of the question file can be used", where=address, got=faults[0])
    notes = [f"{len(faults)} rows cannot be used; the first: {faults[0]}"] if faults else []
    return Read(found, bad, notes)


def check_count(source: str, part: str, closed: Sequence[bool], bad: int = 0) -> str:
    """A sentence that holds a part against the published numbers.

    Args:
        closed: of every usable question. bad: rows that cannot be used; they count as published questions.
    """
    total, is_closed = len(closed) + bad, sum(closed)
    have = f"{part}: {total} questions, {is_closed} closed and {len(closed) - is_closed} open"
    have += f", {bad} that cannot be used" if bad else ""
    if (source, part) not in COUNTS:
        return f"{have}; no published count to check against"
    questions, known_closed = COUNTS[source, part]
    if total != questions:
        return f"{have}; PUBLISHED: {questions}: another copy, or an incomplete one"
    if known_closed is not None and is_closed != known_closed:
        return f"{have}; PUBLISHED: {known_closed} closed and {questions - known_closed} open: another copy"
    return f"{have}, as published"


def without_repeats(rows: Sequence[Asking]) -> tuple[list[Asking], list[str]]:
    """Each question of an image once, with its first answer; a note counts the others and how many of them disagree."""
    first: dict[tuple[str, str], Asking] = {}
    other = 0
    for row in rows:
        kept = first.setdefault((row.asked.image, _folded(row.asked.question)), row)
        other += kept is not row and _folded(kept.asked.answer) != _folded(row.asked.answer)
    repeats = len(rows) - len(first)
    note = f"{repeats} rows repeat a question of the same image and are asked once; {other} of them have another answer"
    return list(first.values()), [note] if repeats else []


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


class Pictures:
    """The images of a benchmark's folder, found by the names that its questions use.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, folder: str, expected: str) -> None:
        fs, path = storage.open_fs(folder)
        if not fs.isdir(path):
            raise UsageError("the benchmark's pictures are missing", where=folder, expected=expected)
        self._listing, self._folder = Listing(folder), folder

    def find(self, name: str) -> tuple[str | None, str]:
        """(address, "") of the picture that a question names, or (None, what is wrong)."""
        try:
            return self._listing.uri(self._listing.find(name)), ""
        except Refused:
            return None, f"{posixpath.basename(self._folder.rstrip('/'))}/{name} is missing"


def make_items(rows: Sequence[Asking], pictures: Pictures, kinds: Sequence[str], ids: Sequence[str]) -> list[Item]:
    """Items of question rows.

    Args:
        kinds: the type of each question. ids: the id of each; one that was used before gets a number.
    """
    items: list[Item] = []
    for row, kind, name in zip(rows, kinds, unique(ids), strict=True):
        asked = row.asked
        address, problem = pictures.find(asked.image)
        image_id = asked.image_id or asked.image
        item = Item(
            id=name,
            image_id=image_id,
            patient_id=asked.patient or image_id,
            image=address,
            question=asked.question,
            answer=asked.answer,
            type=kind,
            closed=asked.closed,
            choices=asked.choices,
            problem=problem,
            modality=asked.modality,
        )
        items.append(item)
    return items


def tagged(items: Sequence[Item], rows: Sequence[Asking], organ: str, modality: str = "") -> list[Item]:
    """The items with organ and modality from the columns of those names."""
    found = []
    for item, row in zip(items, rows, strict=True):
        more = {"organ": str(row.row.get(organ) or "").strip().lower()}
        if modality:
            more["modality"] = str(row.row.get(modality) or "").strip()
        found.append(replace(item, **more))  # type: ignore[arg-type]
    return found


def unique(ids: Sequence[str]) -> Iterator[str]:
    """The ids, with a number after those that came before."""
    seen: dict[str, int] = {}
    for name in ids:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"
