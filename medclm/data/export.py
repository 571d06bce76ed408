"""Flat exports of a built dataset, one entry per question, for trainers that know other layouts.

* ``llava``: ``SPLIT.json`` of LLaVA's conversations, pictures in ``images/``
* ``sharegpt``: ``SPLIT.json`` and ``dataset_info.json`` as LLaMA-Factory reads them (``dataset_dir`` is the export, the
  datasets are ``medclm_SPLIT``), pictures in ``images/``
* ``hf``: ``data/SPLIT-00000.parquet`` with ``images`` and ``messages``, which TRL's ``SFTTrainer`` takes, and a README
  by which ``datasets.load_dataset(DIR)`` finds the splits
* ``webdataset``: ``SPLIT-00000.tar`` of ``KEY.png`` and ``KEY.json``

Splits are train, validation and test. Each entry keeps its choices, difficulty, reasoning with evidence boxes and the
image's findings; boxes are pixels of the exported picture. A question about change comes with two pictures, the earlier
one first.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from medclm.data.records import Image, Question, Record
from medclm.data.shards import read_manifest, read_records
from medclm.errors import UsageError

SPLITS = {"train": "train", "validate": "validation", "test": "test", None: "train"}
"""The name of a record's split in exports."""

Picture = tuple[str, Image]
"""(file name, encoded picture)."""


def export(directory: str, to: str | Path, format: str) -> dict[str, Any]:
    """Writes the export and returns ``{"format", "questions", "images", "files"}``.

    Args:
        directory: a built dataset.
        to: directory to write; it must be empty or not exist.
        format: a key of :data:`medclm.data.export_formats.FORMATS`.

    Raises:
        UsageError: the format is unknown, the dataset is not finished, or ``to`` holds something.
    """
    from medclm.data.export_formats import FORMATS

    if format not in FORMATS:
        raise UsageError("unknown export format", got=format, expected=", ".join(FORMATS))
    read_manifest(directory)
    target = Path(to)
    if target.is_dir() and any(target.iterdir()):
        raise UsageError("the directory to export to is not empty", where=target, remedy="choose another --to")
    target.mkdir(parents=True, exist_ok=True)
    questions = images = 0
    with FORMATS[format](target) as writer:
        for record in read_records(directory):
            for question in record.questions:
                writer.add(SPLITS[record.split], record, question)
            questions += len(record.questions)
            images += bool(record.questions)
    files = sum(1 for path in target.rglob("*") if path.is_file())
    return {"format": format, "questions": questions, "images": images, "files": files}


def prompt(question: Question) -> str:
    """The question as a model is asked it. Our wording names its choices; a VQA source's may not, so they follow."""
    choices = question.choices or ()
    said = question.question.lower()
    if question.type != "vqa" or set(choices) <= {"yes", "no"} or all(choice.lower() in said for choice in choices):
        return question.question
    return f"{question.question}\nChoices: {'; '.join(choices)}"


def solution(question: Question) -> str:
    """Reasoning and answer as one text; the boxes of the steps are in the entry's fields."""
    steps = " ".join(step.text for step in question.reasoning)
    return f"Reasoning: {steps} Answer: {question.answer}" if steps else f"Answer: {question.answer}"


def pictures(record: Record, question: Question) -> list[Picture]:
    """The pictures of an entry: the image, and before it the earlier one for a question about change."""
    assert record.image is not None, "a built record has its picture"
    name = file_name(record.image_id)
    found = [(f"{name}.{record.image.format}", record.image)]
    if question.type == "follow-up" and record.prior is not None and record.prior.image is not None:
        found.insert(0, (f"{name}-earlier.{record.prior.image.format}", record.prior.image))
    return found


def file_name(image_id: str) -> str:
    """The id as a file name of any file system; an id that cannot be one is made different from all others."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", image_id)[:120]
    return plain if plain == image_id else f"{plain}-{hashlib.sha256(image_id.encode()).hexdigest()[:8]}"


def fields(record: Record, question: Question) -> dict[str, Any]:
    """What an entry keeps beside its pictures and its conversation. Plain JSON; boxes are lists of four numbers."""
    return {
        "question_id": question.id,
        "image_id": record.image_id,
        "patient_id": record.patient_id,
        "dataset": record.dataset,
        "modality": record.modality,
        "type": question.type,
        "difficulty": question.difficulty,
        "question": question.question,
        "answer": question.answer,
        "closed": question.closed,
        "choices": list(question.choices or ()),
        "reasoning": [
            {"step": step.step, "text": step.text, "box_xyxy": list(step.box_xyxy or ()), "facts": list(step.facts)}
            for step in question.reasoning
        ],
        "finding_ids": list(question.finding_ids),
        "findings": [
            {"id": f.id, "label": f.label, "box_xyxy": list(f.box_xyxy), "organ": f.organ or "", "side": f.side or ""}
            for f in record.findings
        ],
        "labels": list(record.labels),
    }
