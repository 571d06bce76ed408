"""Questions about figures of books and articles: PathVQA (He et al., 2020) and PMC-VQA (Zhang et al., 2023)."""

from __future__ import annotations

import posixpath

from medclm import storage
from medclm.errors import UsageError
from medclm.eval.benchmarks import LAYOUTS, Benchmark
from medclm.eval.sets.common import Asking, Pictures, check_count, make_items, read_file

_KINDS = ("what", "where", "when", "how", "why", "who", "which")


def load_pathvqa(directory: str, split: str = "") -> Benchmark:
    """``qas/SPLIT/SPLIT_qa.pkl`` or JSON of the same name, here or right in the folder."""
    split = split or "test"
    read = read_file(_pathvqa_file(directory, split), "pathvqa")
    rows, notes = read.rows, read.notes
    notes.append(check_count("pathvqa", split, [row.asked.closed for row in rows], len(read.bad)))
    pictures = Pictures(storage.join(directory, "images"), LAYOUTS["pathvqa"])
    ids = [f"{split}-{n}" for n in range(len(rows))]
    items = make_items(rows, pictures, [_first_word(row) for row in rows], ids)
    train, more = _training(_pathvqa_file(directory, "train"), "pathvqa")
    answers = tuple((_first_word(row), row.asked.answer) for row in train)
    return Benchmark("pathvqa", directory, tuple(items), answers, "image", (*notes, *more))


def load_pmc_vqa(directory: str, split: str = "") -> Benchmark:
    """``test_2.csv`` (the second version, 2,000 four-way questions) or ``test.csv``."""
    names = [f"{split or 'test'}{end}.csv" for end in ("_2", "", "_clean")]
    name = next((name for name in names if storage.exists(storage.join(directory, name))), names[0])
    read = read_file(storage.join(directory, name), "pmc-vqa")
    rows, notes = read.rows, read.notes
    notes.append(check_count("pmc-vqa", name, [row.asked.closed for row in rows], len(read.bad)))
    folders = [
        folder for folder in ("figures", "images_2", "images") if storage.exists(storage.join(directory, folder))
    ]
    pictures = Pictures(storage.join(directory, folders[0] if folders else "images"), LAYOUTS["pmc-vqa"])
    ids = [f"{name}-{n}" for n in range(len(rows))]
    items = make_items(rows, pictures, ["multiple-choice"] * len(rows), ids)
    notes.append("no majority control: the options differ from question to question")
    return Benchmark("pmc-vqa", directory, tuple(items), (), "nothing", tuple(notes))


def _pathvqa_file(directory: str, split: str) -> str:
    places = [
        storage.join(directory, folder, f"{split}_qa{end}")
        for folder in (f"qas/{split}", "")
        for end in (".pkl", ".json")
    ]
    return next((place for place in places if storage.exists(place)), places[0])


def _training(file: str, source: str) -> tuple[list[Asking], list[str]]:
    try:
        read = read_file(file, source)
    except UsageError:
        return [], [f"{posixpath.basename(file)} is missing: no majority control"]
    return read.rows, read.notes


def _first_word(row: Asking) -> str:
    """What a question begins with; "yes-no" for those so answered."""
    first = row.asked.question.lower().split()[:1]
    return "yes-no" if row.asked.closed else first[0] if first and first[0] in _KINDS else "other"
