"""Benchmarks: held-out questions with their images, read from a public layout as it was downloaded.

A benchmark is named ``NAME:DIR``, or ``NAME@SPLIT:DIR`` for another split than the test. Known names and what DIR holds
are in :data:`LAYOUTS`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING

from medclm.data.records import BoxXyxy
from medclm.errors import UsageError

if TYPE_CHECKING:
    from medclm.data.records import Question, Record

GROUNDING = "grounding"
"""Type of a question that only asks where something is: it has boxes and no answer."""


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: unique in its benchmark.
        image: the encoded picture, or the address of its file; None when it is missing, then ``problem`` says why.
        answer: the reference; empty for a question of type ``grounding``.
        boxes: reference boxes, pixels of the picture; empty where none are known.
        ignore_steps: reasoning steps whose predicted box is not meant for ``boxes``.
        organ, modality: of the image, in the source's words; empty where it says nothing.
        origin: the record and question of a dataset of ``medclm data build``; None for other sources.
    """

    id: str
    image_id: str
    patient_id: str
    image: bytes | str | None = field(repr=False)
    question: str
    answer: str
    type: str
    closed: bool
    choices: tuple[str, ...] | None = None
    boxes: tuple[BoxXyxy, ...] = ()
    ignore_steps: frozenset[str] = frozenset()
    problem: str = ""
    organ: str = ""
    modality: str = ""
    origin: tuple[Record, Question] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Benchmark:
    """Held-out items, and the (type, answer) pairs of the training split for the majority control.

    ``splits_by``: what no two splits share, "patient", "image" or "nothing" (they share images).
    """

    name: str
    directory: str
    items: tuple[Item, ...] = field(repr=False)
    train_answers: tuple[tuple[str, str], ...] = field(repr=False)
    splits_by: str
    notes: tuple[str, ...] = ()


Loader = Callable[[str, str], Benchmark]
"""(directory, split; empty for the source's test) to a benchmark."""


def load_benchmark(spec: str, limit: int | None = None, seed: int = 0) -> Benchmark:
    """Reads a benchmark.

    Args:
        spec: ``NAME:DIR`` or ``NAME@SPLIT:DIR``, e.g. ``vqa-rad:data/vqa-rad``, ``slake@validate:data/slake``.
        limit: at most this many questions, drawn by ``seed`` from all images.

    Raises:
        UsageError: the name is unknown, DIR is missing, or it is not laid out as expected.
    """
    title, colon, directory = spec.partition(":")
    name, _, split = title.partition("@")
    known = "; ".join(f"{key}:DIR ({text})" for key, text in LAYOUTS.items())
    if not colon or not directory or name not in LAYOUTS:
        raise UsageError("unknown benchmark", got=spec, expected=f"NAME:DIR with one of {known}")
    benchmark = _loader(name)(directory, split)
    if not benchmark.items:
        raise UsageError("the benchmark has no held-out questions", where=spec, expected=LAYOUTS[name])
    _check_ids(benchmark)
    missing = [item for item in benchmark.items if item.image is None]
    if len(missing) == len(benchmark.items):
        raise UsageError(
            "all of the benchmark's pictures are missing", where=spec, expected=LAYOUTS[name], got=missing[0].problem
        )
    notes = benchmark.notes
    if missing:
        notes = (*notes, f"{len(missing)} questions have no picture ({missing[0].problem})")
    if limit is None or limit >= len(benchmark.items):
        return replace(benchmark, notes=notes)
    chosen = set(random.Random(seed).sample(range(len(benchmark.items)), limit))
    items = tuple(item for place, item in enumerate(benchmark.items) if place in chosen)
    notes = (*notes, f"{limit} of {len(benchmark.items)} questions, drawn with seed {seed}")
    return replace(benchmark, items=items, notes=notes)


def _loader(name: str) -> Loader:
    module, _, function = _LOADERS[name].partition(":")
    found: Loader = getattr(import_module(f"medclm.eval.sets.{module}"), function)
    return found


def _check_ids(benchmark: Benchmark) -> None:
    ids = [item.id for item in benchmark.items]
    if len(ids) != len(set(ids)):
        twice = next(name for place, name in enumerate(ids) if name in ids[:place])
        raise UsageError("two questions of a benchmark share an id", where=benchmark.directory, got=twice)


LAYOUTS: dict[str, str] = {
    "medclm": "a dataset of `medclm data build`: its test split, held-out patients",
    "vqa-rad": "trainset.json and images/ as downloaded; the image-disjoint fifth by hash of the image's name",
    "vqa-rad-official": "testset.json (or `VQA_RAD Dataset Public.json`, or the Parquet copy) and images/: the "
    "published test, which shares images with training",
    "slake": "test.json and imgs/xmlabN/source.jpg, English",
    "slake-zh": "the same, Chinese",
    "pathvqa": "qas/test/test_qa.pkl (or .json) and images/",
    "pmc-vqa": "test_2.csv or test.csv, and the images of its figures",
    "omnimedvqa": "QA_information/**/*.json and the images they name: multiple choice",
    "slake-boxes": "imgs/xmlabN/ with source.jpg and detection.json: where is each labelled thing",
    "chestx-det": "ChestX_Det_test.json (or ChestX_Det10 test.json) and its images: where is each finding",
    "boxes": "annotations.json (COCO) and images/: where is each labelled thing, your own boxes",
}
"""Known benchmark names and what their folder holds."""

_LOADERS = {
    "medclm": "built:load",
    "vqa-rad": "vqa_rad:load_disjoint",
    "vqa-rad-official": "vqa_rad:load_official",
    "slake": "slake:load_english",
    "slake-zh": "slake:load_chinese",
    "pathvqa": "figures:load_pathvqa",
    "pmc-vqa": "figures:load_pmc_vqa",
    "omnimedvqa": "omnimed:load",
    "slake-boxes": "boxes:load_slake",
    "chestx-det": "boxes:load_chestxdet",
    "boxes": "boxes:load_coco",
}
