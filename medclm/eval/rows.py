"""One row a question: what was asked, what was answered, every score and every control. ``predictions.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from medclm.eval.benchmarks import GROUNDING, Benchmark, Item
from medclm.eval.controls import majority_answer, majority_answers
from medclm.eval.faithful import follows, steps_true
from medclm.eval.grounding import ground, step_boxes
from medclm.eval.replies import Reply
from medclm.eval.scorers import PUBLISHED, strict, words

if TYPE_CHECKING:
    from medclm.serve.predictor import Prediction

CONTROLS = ("majority", "blank", "shuffled", "text_only")
"""Answers that must be worse than the model's; each is scored."""
MASKS = ("masked", "elsewhere")
"""Pictures with a part hidden; what counts is whether the answer changes."""
SCORED = ("ok", "unparsed")
"""Statuses that count in the accuracy. The others (broken-image, no-prediction) are counted beside it."""

_BOXES = pa.list_(pa.list_(pa.float64()))
_STEP = pa.struct([("step", pa.string()), ("text", pa.string()), ("box_xyxy", pa.list_(pa.float64()))])
_TEXTS = ("benchmark", "id", "image_id", "patient_id", "type", "organ", "modality", "question", "reference")
_NUMBERS = ("iou", "hit", "pointing", "attention", "attention_even")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in _TEXTS]
    + [("closed", pa.bool_()), ("choices", pa.list_(pa.string()))]
    + [("status", pa.string()), ("reason", pa.string()), ("text", pa.string()), ("answer", pa.string())]
    + [("parsed", pa.bool_()), ("finish", pa.string()), ("confidence", pa.float64()), ("steps", pa.list_(_STEP))]
    + [(name, pa.int64()) for name in ("prompt_tokens", "completion_tokens")]
    + [("reference_boxes", _BOXES), ("predicted_boxes", _BOXES)]
    + [("correct", pa.bool_()), ("recall", pa.float64()), ("f1", pa.float64())]
    + [(name, pa.float64()) for name in PUBLISHED]
    + [("judged", pa.bool_()), ("judge_reason", pa.string())]
    + [(name, pa.float64()) for name in _NUMBERS]
    + [("steps_true", pa.int64()), ("steps_judged", pa.int64()), ("step_fault", pa.string()), ("follows", pa.bool_())]
    + [("reference_steps_true", pa.int64()), ("reference_steps_judged", pa.int64()), ("reference_follows", pa.bool_())]
    + [field for c in CONTROLS for field in ((f"{c}_answer", pa.string()), (f"{c}_correct", pa.bool_()))]
    + [field for m in MASKS for field in ((f"{m}_answer", pa.string()), (f"{m}_changed", pa.bool_()))]
)
"""Columns of predictions.parquet. ``correct``, ``recall``, ``f1`` are of the strict scorer; a value is null where it
does not apply (a question that could not be asked, a control that was not run, a grounding question's answer)."""


def make_rows(
    benchmark: Benchmark, reply_of: Callable[[str, str], Reply | None], controls: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a benchmark, in its order.

    Args:
        reply_of: (item id, variant) to what came back; None where it was not asked.
        controls: those that were asked for.

    Returns:
        (rows, notes): rows of :data:`SCHEMA`; notes say which control could not be run and why.
    """
    rows = [_row(benchmark.name, item, reply_of(item.id, "question")) for item in benchmark.items]
    notes = _add_majority(rows, benchmark) if "majority" in controls else []
    for row, item in zip(rows, benchmark.items, strict=True):
        for control in CONTROLS[1:]:
            _add_control(row, item, control, reply_of(item.id, control))
        for mask in MASKS:
            _add_mask(row, mask, reply_of(item.id, mask))
    return rows, [*notes, *_lost(rows, controls)]


def _lost(rows: Sequence[Mapping[str, Any]], controls: Sequence[str]) -> list[str]:
    """Controls that some scored question lacks."""
    scored = [row for row in rows if row["status"] in SCORED and row["type"] != GROUNDING]
    notes = []
    for control in CONTROLS[1:]:
        lost = sum(row[f"{control}_correct"] is None for row in scored)
        if control in controls and lost:
            notes.append(f"{lost} of {len(scored)} questions have no answer to the {control} control")
    return notes


def _row(benchmark: str, item: Item, reply: Reply | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    row |= {
        "benchmark": benchmark,
        "id": item.id,
        "image_id": item.image_id,
        "patient_id": item.patient_id,
        "type": item.type,
        "organ": item.organ,
        "modality": item.modality,
        "question": item.question,
        "reference": item.answer,
        "closed": item.closed,
        "choices": list(item.choices) if item.choices else None,
        "reference_boxes": [list(box) for box in item.boxes],
    }
    if reply is None:
        return row | {"status": "broken-image", "reason": f"the picture is missing: {item.problem or item.image_id}"}
    said = reply.prediction
    if said is None:
        return row | {"status": reply.status, "reason": reply.reason}
    boxes = step_boxes(said.steps, item.ignore_steps)
    grounding = ground(boxes, item.boxes)
    row |= {
        "text": said.text,
        "answer": said.answer,
        "parsed": said.parsed,
        "finish": said.finish,
        "confidence": said.confidence,
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": said.completion_tokens,
        "steps": [step.model_dump(include={"step", "text", "box_xyxy"}) for step in said.steps],
        "predicted_boxes": [list(box) for box in boxes],
        "iou": grounding.iou,
        "hit": grounding.hit,
        "pointing": grounding.pointing,
        "attention": reply.attention,
        "attention_even": reply.attention_even,
    }
    return row | _scores(item, said, bool(boxes)) | _faithful(item, said)


def _scores(item: Item, said: Prediction, has_box: bool) -> dict[str, Any]:
    """A text without an answer is an empty answer to every scorer; ``status`` and ``reason`` say so."""
    start = " ".join(said.text.split())[:80]
    if item.type == GROUNDING:
        reason = "" if has_box else f"no box could be read in {len(said.text)} characters: {start!r}"
        return {"status": "ok" if has_box else "unparsed", "reason": reason}
    score = strict(said.answer, item.answer, item.closed, item.choices)
    scores: dict[str, Any] = {"correct": score.correct, "recall": score.recall, "f1": score.f1}
    scores |= {name: scorer(said.answer, item.answer, item.closed, item.choices) for name, scorer in PUBLISHED.items()}
    fault = "the reasoning is not in the trained form" if said.answer else "no answer could be read"
    if said.finish == "length":
        fault += " (the text was cut off at the token limit)"
    whole = said.answer and said.parsed
    reason = "" if whole else f"{fault} in {len(said.text)} characters: {start!r}"
    return scores | {"status": "ok" if said.answer else "unparsed", "reason": reason}


def _faithful(item: Item, said: Prediction) -> dict[str, Any]:
    """Only for questions of a built dataset, whose record is known, and texts that reason."""
    if item.origin is None or not any(step.text for step in said.steps):
        return {}
    record, question = item.origin
    own, ceiling = steps_true(record, question, said.steps), steps_true(record, question, question.reasoning)
    return {
        "steps_true": own.true,
        "steps_judged": own.judged,
        "step_fault": own.fault,
        "follows": follows(item.question, said.steps, said.answer),
        "reference_steps_true": ceiling.true,
        "reference_steps_judged": ceiling.judged,
        "reference_follows": follows(item.question, question.reasoning, item.answer),
    }


def _add_majority(rows: list[dict[str, Any]], benchmark: Benchmark) -> list[str]:
    asked = [item.type != GROUNDING for item in benchmark.items]
    if not benchmark.train_answers or not any(asked):
        return ["no majority control: the benchmark has no training split to take it from"] if any(asked) else []
    answers = majority_answers(benchmark.train_answers)
    for row, item in zip(rows, benchmark.items, strict=True):
        text = majority_answer(answers, item.type)
        right = strict(text, item.answer, item.closed, item.choices).correct
        row |= {"majority_answer": text, "majority_correct": right}
    return []


def _add_control(row: dict[str, Any], item: Item, control: str, reply: Reply | None) -> None:
    if reply is None or reply.prediction is None or item.type == GROUNDING:
        return
    said = reply.prediction.answer
    right = strict(said, item.answer, item.closed, item.choices).correct
    row |= {f"{control}_answer": said, f"{control}_correct": right}


def _add_mask(row: dict[str, Any], mask: str, reply: Reply | None) -> None:
    """Whether the answer is another one than with the whole picture, word by word."""
    if reply is None or reply.prediction is None or row["answer"] is None:
        return
    said = reply.prediction.answer
    row |= {f"{mask}_answer": said, f"{mask}_changed": words(said) != words(row["answer"])}
