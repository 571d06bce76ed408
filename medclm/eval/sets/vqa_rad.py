"""VQA-RAD (Lau et al., Scientific Data 2018), in its three copies.

* ``trainset.json`` (3,064 rows, rephrasings included) and ``testset.json`` (451), with ``images/``;
* ``VQA_RAD Dataset Public.json``, whose ``phrase_type`` says which rows are the test;
* the common Parquet copy, ``train-*.parquet`` and ``test-*.parquet`` with the pictures inside and neither ids nor
  ``answer_type``: there a question counts as closed when its answer is yes or no.

The published test shares its images with training. The image-disjoint split holds the fifth of the images out whose
names' hashes say so (:func:`medclm.data.readers.vqa_layouts.in_vqa_rad_held_out`), out of all files that are there.
"""

from __future__ import annotations

import hashlib
import posixpath
from typing import Any

from medclm import storage
from medclm.data.readers.vqa_layouts import in_vqa_rad_held_out
from medclm.errors import MedclmError, UsageError
from medclm.eval.benchmarks import LAYOUTS, Benchmark, Item
from medclm.eval.sets.common import Asking, Pictures, check_count, make_items, read_file, tagged, without_repeats

TRAIN, TEST, PUBLIC = "trainset.json", "testset.json", "VQA_RAD Dataset Public.json"


def load_disjoint(directory: str, split: str = "") -> Benchmark:
    """Questions of the held-out images; no image is in both parts. ``split`` "train" gives the others."""
    if copies := _copies(directory):
        parts, notes = _copy(copies)
        items = [item for part in parts.values() for item in part]
    else:
        rows, notes = _rows(directory)
        rows, more = without_repeats(rows)
        items, notes = _items(directory, rows), [*notes, *more]
    held_out = [item for item in items if in_vqa_rad_held_out(item.image_id)]
    rest = [item for item in items if not in_vqa_rad_held_out(item.image_id)]
    chosen, other = (rest, held_out) if split == "train" else (held_out, rest)
    note = f"image-disjoint part ({len(chosen)} of {len(items)} questions), not the official test"
    train = tuple((item.type, item.answer) for item in (other if split != "train" else rest))
    return Benchmark("vqa-rad", directory, tuple(chosen), train, "image", (note, *notes))


def load_official(directory: str, split: str = "") -> Benchmark:
    """The published test. Its notes say how many of its images are in training too."""
    if copies := _copies(directory):
        parts, notes = _copy(copies)
        test, train = parts.get("test", []), parts.get("train", [])
    else:
        rows, notes = _rows(directory)
        items = _items(directory, rows)
        test = [item for item, row in zip(items, rows, strict=True) if row.asked.split == "test"]
        train = [item for item, row in zip(items, rows, strict=True) if row.asked.split != "test"]
    if not test:
        expected = LAYOUTS["vqa-rad-official"]
        raise UsageError("the published test of VQA-RAD is not there", where=directory, expected=expected)
    shared = {item.image_id for item in test} & {item.image_id for item in train}
    images = len({item.image_id for item in test})
    notes.append(f"{len(shared)} of the test's {images} images are in training too: use vqa-rad for unseen images")
    answers = tuple((item.type, item.answer) for item in train)
    chosen = train if split == "train" else test
    return Benchmark("vqa-rad-official", directory, tuple(chosen), answers, "nothing", tuple(notes))


def _rows(directory: str) -> tuple[list[Asking], list[str]]:
    """The rows of every JSON file that is there, each with its split."""
    import dataclasses

    rows: list[Asking] = []
    notes: list[str] = []
    names = [name for name in (TRAIN, TEST) if storage.exists(storage.join(directory, name))]
    if not names:
        names = [PUBLIC if storage.exists(storage.join(directory, PUBLIC)) else TRAIN]
    for name in names:
        read = read_file(storage.join(directory, name), "vqa-rad")
        found = read.rows
        if name == TEST:
            found = [dataclasses.replace(row, asked=dataclasses.replace(row.asked, split="test")) for row in found]
        rows += found
        notes += [*read.notes, check_count("vqa-rad", name, [row.asked.closed for row in found], len(read.bad))]
    return rows, notes


def _items(directory: str, rows: list[Asking]) -> list[Item]:
    pictures = Pictures(storage.join(directory, "images"), LAYOUTS["vqa-rad"])
    kinds = [row.asked.topic or "other" for row in rows]
    ids = [row.asked.id or row.where for row in rows]
    return tagged(make_items(rows, pictures, kinds, ids), rows, organ="image_organ")


def _copies(directory: str) -> list[str]:
    """The files of the Parquet copy, in the folder or in its ``data``."""
    return [
        file
        for pattern in ("*.parquet", "data/*.parquet")
        for file in storage.list_files(directory, pattern)
        if posixpath.basename(file).startswith(("train-", "test-"))
    ]


def _copy(files: list[str]) -> tuple[dict[str, list[Item]], list[str]]:
    """The Parquet copy: items by split. Images are named by the hash of their bytes."""
    parts: dict[str, list[Item]] = {"train": [], "test": []}
    for file in files:
        part = posixpath.basename(file).partition("-")[0]
        if part in parts:
            parts[part] += [_copied(row, f"{part}-{n}", file) for n, row in enumerate(_parquet(file))]
    notes = ["a copy without ids and answer_type: closed means that the answer is yes or no"]
    for part, items in parts.items():
        if items:
            notes.append(check_count("vqa-rad copy", part, [item.closed for item in items]))
    return parts, notes


def _parquet(file: str) -> list[dict[str, Any]]:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(io.BytesIO(storage.read_bytes(file)), columns=["image", "question", "answer"]).to_pylist()
    except (pa.ArrowException, KeyError, OSError) as error:
        raise MedclmError(
            "the Parquet copy cannot be read", where=file, expected="columns image, question, answer", got=error
        ) from error


def _copied(row: dict[str, Any], name: str, file: str) -> Item:
    data = (row["image"] or {}).get("bytes")
    image_id = hashlib.sha256(data).hexdigest()[:16] if data else name
    answer = str(row["answer"]).strip()
    closed = answer.lower() in ("yes", "no")
    problem = "" if data else f"{posixpath.basename(file)} has no picture in this row"
    kind = "closed" if closed else "open"
    return Item(name, image_id, image_id, data, str(row["question"]).strip(), answer, kind, closed, problem=problem)
