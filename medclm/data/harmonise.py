"""What a dataset's own label means in the one finding vocabulary, and which labels nobody has explained yet.

Each file of ``labels/`` states every label of one dataset: the finding it is, ``no-finding``, or ``kept`` (known, but
no finding of this vocabulary: its own words stay). Findings also know their synonyms, so that most labels of a dataset
without a table are understood; what is left is kept as it is and reported.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from medclm.data import anatomy
from medclm.data.knowledge.documents import parse, read_yaml
from medclm.data.records import Record
from medclm.errors import MedclmError

FOLDER = Path(__file__).parent / "labels"
GENERAL = "general"
Kind = Literal["finding", "no-finding", "kept", "unknown"]


class LabelTable(BaseModel):
    """The labels of one dataset.

    Attributes:
        title: the dataset, and which of its fields the labels are of.
        names: what ``Record.dataset`` may say for it, lower case.
        labels: meaning by label, in words that mean the same in any dataset.
        codes: meaning by label that holds for this dataset alone ("1", "lung").
        hosts: organs that a label names as well, by label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    names: tuple[str, ...]
    labels: dict[str, str] = {}
    codes: dict[str, str] = {}
    hosts: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True)
class Meaning:
    """What a raw label means. ``finding`` is of the vocabulary, or None; ``organs`` are hosts that the label names."""

    kind: Kind
    finding: str | None = None
    organs: tuple[str, ...] = ()


def load(folder: Path = FOLDER) -> dict[str, LabelTable]:
    """The tables of a folder by the file's name.

    Raises:
        MedclmError: a file is not valid, means an unknown finding or organ, states one label twice, or claims a
            dataset's name that another file has.
    """
    found: dict[str, LabelTable] = {}
    owner: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        table = parse(LabelTable, read_yaml(path), path)
        meanings = {*table.labels.values(), *table.codes.values()} - {"no-finding", "kept"}
        _refuse("a label means an unknown finding", path, meanings - anatomy.findings().keys())
        hosts = {organ for organs in table.hosts.values() for organ in organs}
        _refuse("a label names an unknown organ", path, hosts - anatomy.organs().keys())
        words = Counter(anatomy.normal_name(word) for word in (*table.labels, *table.codes))
        _refuse("a label is stated twice", path, {word for word, count in words.items() if count > 1})
        _refuse("a dataset has two tables", path, {f"{name} ({owner[name]})" for name in table.names if name in owner})
        owner |= dict.fromkeys(table.names, path.name)
        found[path.stem] = table
    return found


@cache
def tables() -> dict[str, LabelTable]:
    """The tables that this package ships, by name."""
    return load()


def meaning(label_raw: str, dataset: str = "") -> Meaning:
    """What a label means: by the dataset's table, else by the general words, else by the findings' synonyms."""
    word = anatomy.normal_name(label_raw)
    index = _index()
    for name in (dataset.lower(), GENERAL):
        if (found := index.get((name, word))) is not None:
            return found
    finding = anatomy.finding_name(label_raw)
    return Meaning("finding", finding) if finding else Meaning("unknown")


def unknown_labels(records: Iterable[Record]) -> dict[str, int]:
    """How often each label occurs that neither its dataset's table nor the vocabulary knows, the commonest first.

    Boxed findings count by their raw label; labels of whole images, absent ones too, by the text the record has.
    """
    counts: Counter[str] = Counter()
    for record in records:
        raw = (finding.label_raw for finding in record.findings)
        for label in (*raw, *record.labels, *record.labels_absent):
            if meaning(label, record.dataset).kind == "unknown":
                counts[label] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def content_hash() -> str:
    """SHA-256, hex, of every table: part of a build's fingerprint."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.yaml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _index() -> dict[tuple[str, str], Meaning]:
    """Meanings by (dataset name, normal label)."""
    index: dict[tuple[str, str], Meaning] = {}
    for table in tables().values():
        for label, means in (*table.labels.items(), *table.codes.items()):
            organs = table.hosts.get(label, ())
            is_word = means in ("no-finding", "kept")
            found = Meaning(means, None, organs) if is_word else Meaning("finding", means, organs)  # type: ignore[arg-type]
            index |= {(name, anatomy.normal_name(label)): found for name in table.names}
    return index


def _refuse(what: str, path: Path, faults: Iterable[str]) -> None:
    if faults := sorted(faults):
        raise MedclmError(what, where=path, got=", ".join(faults), remedy="correct the file")
