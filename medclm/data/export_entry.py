"""One entry of an export: its prompt, its solution, its pictures and what it keeps beside them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from medclm.data.records import Image, Question, Record

Picture = tuple[str, Image]
"""(file name, encoded picture)."""


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
