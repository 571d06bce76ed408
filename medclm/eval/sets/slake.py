"""SLAKE (Liu et al., ISBI 2021): ``train.json``, ``validate.json``, ``test.json`` in two languages, ``imgs/``."""

from __future__ import annotations

from medclm import storage
from medclm.eval.benchmarks import LAYOUTS, Benchmark
from medclm.eval.sets.common import Asking, Pictures, check_count, make_items, read_file, tagged


def load_english(directory: str, split: str = "") -> Benchmark:
    """The questions with ``q_lang`` "en"."""
    return _load(directory, split or "test", "en", "slake")


def load_chinese(directory: str, split: str = "") -> Benchmark:
    """The questions with ``q_lang`` "zh". ``strict`` compares Chinese answers character by character."""
    return _load(directory, split or "test", "zh", "slake-zh")


def questions(directory: str, split: str, language: str) -> tuple[list[Asking], list[str]]:
    """The rows of a split in one language, and what is to say of them."""
    found = read_file(storage.join(directory, f"{split}.json"), "slake")
    kept = [row for row in found.rows if row.asked.language == language]
    bad = sum(row.get("q_lang") == language for row in found.bad)
    return kept, [*found.notes, check_count(f"slake {language}", split, [row.asked.closed for row in kept], bad)]


def _load(directory: str, split: str, language: str, name: str) -> Benchmark:
    rows, notes = questions(directory, split, language)
    pictures = Pictures(storage.join(directory, "imgs"), LAYOUTS["slake"])
    ids = [str(row.row.get("qid", row.where)) for row in rows]
    items = tagged(make_items(rows, pictures, [_kind(row) for row in rows], ids), rows, "location", "modality")
    train: list[Asking] = []
    if storage.exists(storage.join(directory, "train.json")):
        train, more = questions(directory, "train", language)
        notes += more
        shared = {row.asked.image for row in rows} & {row.asked.image for row in train}
        if shared:
            notes.append(f"{len(shared)} images are in training too")
    else:
        notes.append("train.json is missing: no majority control")
    answers = tuple((_kind(row), row.asked.answer) for row in train)
    return Benchmark(name, directory, tuple(items), answers, "image", tuple(notes))


def _kind(row: Asking) -> str:
    return str(row.row.get("content_type") or "other").strip().lower()
