"""Benchmarks: held-out questions with their images, read from a public layout as it was downloaded.

A benchmark is named ``NAME:DIR``. Known names and what DIR holds are in :data:`LAYOUTS`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medclm.data.readers.base import Refused
from medclm.data.readers.vqa_layouts import LAYOUTS as SOURCES
from medclm.data.readers.vqa_layouts import Asked, in_vqa_rad_held_out
from medclm.data.records import BoxXyxy
from medclm.errors import MedclmError, UsageError
from medclm.eval.grounding import CONTEXT_STEPS


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: unique in its benchmark.
        image: the encoded picture; None when it is missing, then ``problem`` says why.
        boxes: reference boxes, pixels of the picture; empty where none are known.
        ignore_steps: reasoning steps whose predicted box is not meant for ``boxes``.
    """

    id: str
    image_id: str
    patient_id: str
    image: bytes | None = field(repr=False)
    question: str
    answer: str
    type: str
    closed: bool
    choices: tuple[str, ...] | None = None
    boxes: tuple[BoxXyxy, ...] = ()
    ignore_steps: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True)
class Benchmark:
    """Held-out items, and the (type, answer) pairs of the training split for the majority control.

    ``splits_by``: what no two splits share, "patient" or "image".
    """

    name: str
    directory: str
    items: tuple[Item, ...] = field(repr=False)
    train_answers: tuple[tuple[str, str], ...] = field(repr=False)
    splits_by: str
    notes: tuple[str, ...] = ()


def load_benchmark(spec: str, limit: int | None = None, seed: int = 0) -> Benchmark:
    """Reads a benchmark.

    Args:
        spec: ``NAME:DIR``, e.g. ``vqa-rad:data/vqa-rad``.
        limit: at most this many questions, drawn by ``seed`` from all images.

    Raises:
        UsageError: the name is unknown, DIR is missing, or it is not laid out as expected.
    """
    name, colon, directory = spec.partition(":")
    known = "; ".join(f"{key}:DIR ({text})" for key, text in LAYOUTS.items())
    if not colon or not directory or name not in _LOADERS:
        raise UsageError("unknown benchmark", got=spec, expected=f"NAME:DIR with one of {known}")
    benchmark = _LOADERS[name](directory)
    if not benchmark.items:
        raise UsageError("the benchmark has no held-out questions", where=spec, expected=LAYOUTS[name])
    if limit is None or limit >= len(benchmark.items):
        return benchmark
    chosen = set(random.Random(seed).sample(range(len(benchmark.items)), limit))
    items = tuple(item for place, item in enumerate(benchmark.items) if place in chosen)
    notes = (*benchmark.notes, f"{limit} of {len(benchmark.items)} questions, drawn with seed {seed}")
    return Benchmark(name, directory, items, benchmark.train_answers, benchmark.splits_by, notes)


def _medclm(directory: str) -> Benchmark:
    from medclm.data.shards import read_records
    from medclm.train.views import evidence_boxes

    items: list[Item] = []
    train: list[tuple[str, str]] = []
    for record in read_records(directory):
        if record.split == "train":
            train += [(question.type, question.answer) for question in record.single_picture_questions]
        if record.split != "test":
            continue
        for question in record.single_picture_questions:
            lesions, evidence = evidence_boxes(record, question)
            items.append(
                Item(
                    id=question.id,
                    image_id=record.image_id,
                    patient_id=record.patient_id,
                    image=record.image.bytes if record.image else None,
                    question=question.question,
                    answer=question.answer,
                    type=question.type,
                    closed=question.closed,
                    choices=question.choices,
                    boxes=evidence,
                    ignore_steps=CONTEXT_STEPS if lesions else frozenset(),
                    problem="" if record.image else "the row has no picture",
                )
            )
    return Benchmark("medclm", directory, tuple(items), tuple(train), "patient", ("held-out patients (test split)",))


def _vqa_rad(directory: str) -> Benchmark:
    root = Path(directory)
    rows = _asked(root / "trainset.json", ("qid", "image_name", "question", "answer", "answer_type"))
    if not (root / "images").is_dir():
        raise UsageError("the benchmark's pictures are missing", where=root / "images", expected=LAYOUTS["vqa-rad"])
    pictures: dict[str, bytes | None] = {}
    items: list[Item] = []
    train: list[tuple[str, str]] = []
    for row in rows:
        kind = row.topic or "other"
        if not in_vqa_rad_held_out(row.image):
            train.append((kind, row.answer))
            continue
        if row.image not in pictures:
            file = root / "images" / row.image
            pictures[row.image] = file.read_bytes() if file.is_file() else None
        picture = pictures[row.image]
        problem = "" if picture is not None else f"images/{row.image} is missing"
        items.append(
            Item(row.id, row.image, row.image, picture, row.question, row.answer, kind, row.closed, problem=problem)
        )
    note = f"image-disjoint part of the training file ({len(items)} of {len(rows)} questions), not the official test"
    return Benchmark("vqa-rad", directory, tuple(items), tuple(train), "image", (note,))


def _asked(file: Path, keys: tuple[str, ...]) -> list[Asked]:
    """The questions of a VQA-RAD file."""
    found = []
    for place, row in enumerate(_read_rows(file, keys)):
        try:
            found.append(SOURCES["vqa-rad"].parse(row))
        except Refused as error:
            raise MedclmError("a row cannot be used", where=f"{file}, row {place}", got=error.detail) from None
    return found


def _read_rows(file: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    if not file.is_file():
        raise UsageError("the benchmark's question file is missing", where=file, remedy="check the folder after NAME:")
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MedclmError(
            "the benchmark's question file is not JSON", where=file, got=error, remedy="download it again"
        ) from error
    if not isinstance(rows, list):
        raise MedclmError("the benchmark's question file is not a list of rows", where=file, got=type(rows).__name__)
    for place, row in enumerate(rows):
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise MedclmError("a row lacks a key", where=f"{file}, row {place}", expected=keys, got=row)
    return rows


LAYOUTS: dict[str, str] = {
    "medclm": "a dataset of `medclm data build`: its test split, held-out patients",
    "vqa-rad": "trainset.json and images/ as downloaded; the image-disjoint fifth by hash of the image's name",
}
"""Known benchmark names and what their folder holds."""

_LOADERS: dict[str, Callable[[str], Benchmark]] = {"medclm": _medclm, "vqa-rad": _vqa_rad}
