"""One row a question: what was asked, what was answered, every score and every control. ``predictions.parquet``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from medclm.errors import MedclmError
from medclm.eval.benchmarks import Benchmark, Item
from medclm.eval.controls import blank_image, majority_answer, majority_answers, shuffled_images
from medclm.eval.grounding import ground, step_boxes
from medclm.eval.scorers import PUBLISHED, strict
from medclm.eval.sources import Job, Progress, Source, answer_all, open_picture

if TYPE_CHECKING:
    from medclm.serve.predictor import Prediction

CONTROLS = ("majority", "blank", "shuffled")
SCORED = ("ok", "unparsed")
"""Statuses that count in the accuracy. The others (broken-image, no-prediction) are counted beside it."""

_BOXES = pa.list_(pa.list_(pa.float64()))
_STEP = pa.struct([("step", pa.string()), ("text", pa.string()), ("box_xyxy", pa.list_(pa.float64()))])
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("benchmark", "id", "image_id", "patient_id", "type", "question", "reference")]
    + [("closed", pa.bool_()), ("choices", pa.list_(pa.string()))]
    + [("status", pa.string()), ("reason", pa.string()), ("text", pa.string()), ("answer", pa.string())]
    + [("parsed", pa.bool_()), ("confidence", pa.float64()), ("steps", pa.list_(_STEP))]
    + [("reference_boxes", _BOXES), ("predicted_boxes", _BOXES)]
    + [("correct", pa.bool_()), ("recall", pa.float64()), ("f1", pa.float64())]
    + [(name, pa.float64()) for name in PUBLISHED]
    + [(name, pa.float64()) for name in ("iou", "hit", "pointing")]
    + [field for c in CONTROLS for field in ((f"{c}_answer", pa.string()), (f"{c}_correct", pa.bool_()))]
)
"""Columns of predictions.parquet. ``correct``, ``recall``, ``f1`` are of the strict scorer; a value is null where it
does not apply (a question that could not be asked, a control that was not run)."""


def ask(
    source: Source,
    benchmark: Benchmark,
    mode: str,
    batch_size: int,
    controls: Sequence[str],
    seed: int,
    progress: Progress | None = None,
) -> tuple[list[dict[str, Any]], list[str], float]:
    """Asks every question of a benchmark, and the controls.

    Returns:
        (rows, notes, seconds): rows of :data:`SCHEMA` in the benchmark's order; notes say which control could not be
        run and why; seconds are those of the source.
    """
    problems = _broken_pictures(benchmark.items)
    good = [item for item in benchmark.items if item.image_id not in problems]
    jobs = [Job(item, item.image_id, lambda item=item: open_picture(item)) for item in good]  # type: ignore[misc]
    predictions, seconds = answer_all(source, jobs, mode, batch_size, progress, f"{benchmark.name}: questions")
    found = dict(zip((item.id for item in good), predictions, strict=True))
    rows = [_row(benchmark.name, item, found.get(item.id), problems.get(item.image_id, "")) for item in benchmark.items]
    notes = _add_majority(rows, benchmark) if "majority" in controls else []
    for control in ("blank", "shuffled"):
        if control in controls:
            control_jobs, note = _control_jobs(control, good, source, seed)
            notes += note
            what = f"{benchmark.name}: {control} images"
            answers, more = answer_all(source, control_jobs, mode, batch_size, progress, what)
            seconds += more
            _add_control(rows, control, dict(zip((job.item.id for job in control_jobs), answers, strict=True)))
    return rows, notes, seconds


def _broken_pictures(items: Sequence[Item]) -> dict[str, str]:
    """What is wrong with each image that cannot be shown, by image id."""
    problems = {}
    for item in {item.image_id: item for item in items}.values():
        try:
            open_picture(item)
        except MedclmError as error:
            problems[item.image_id] = "; ".join(line.strip() for line in error.message().splitlines())
    return problems


def _row(benchmark: str, item: Item, prediction: Prediction | None, problem: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    row |= {
        "benchmark": benchmark,
        "id": item.id,
        "image_id": item.image_id,
        "patient_id": item.patient_id,
        "type": item.type,
        "question": item.question,
        "reference": item.answer,
        "closed": item.closed,
        "choices": list(item.choices) if item.choices else None,
        "reference_boxes": [list(box) for box in item.boxes],
    }
    if prediction is None:
        status = ("broken-image", problem) if problem else ("no-prediction", "the source has no answer to this id")
        return row | {"status": status[0], "reason": status[1]}
    boxes = step_boxes(prediction.steps, item.ignore_steps)
    grounding = ground(boxes, item.boxes)
    row |= {
        "text": prediction.text,
        "answer": prediction.answer,
        "parsed": prediction.parsed,
        "confidence": prediction.confidence,
        "steps": [step.model_dump() for step in prediction.steps],
        "predicted_boxes": [list(box) for box in boxes],
        "iou": grounding.iou,
        "hit": grounding.hit,
        "pointing": grounding.pointing,
    }
    return row | _scores(item, prediction)


def _scores(item: Item, prediction: Prediction) -> dict[str, Any]:
    """A text without an answer is an empty answer to every scorer; ``status`` and ``reason`` say so."""
    said = prediction.answer
    score = strict(said, item.answer, item.closed, item.choices)
    scores: dict[str, Any] = {"correct": score.correct, "recall": score.recall, "f1": score.f1}
    scores |= {name: scorer(said, item.answer, item.closed, item.choices) for name, scorer in PUBLISHED.items()}
    start = " ".join(prediction.text.split())[:80]
    fault = "the reasoning is not in the trained form" if said else "no answer could be read"
    reason = "" if said and prediction.parsed else f"{fault} in {len(prediction.text)} characters: {start!r}"
    return scores | {"status": "ok" if said else "unparsed", "reason": reason}


def _add_majority(rows: list[dict[str, Any]], benchmark: Benchmark) -> list[str]:
    if not benchmark.train_answers:
        return ["no majority control: the benchmark has no training split to take it from"]
    answers = majority_answers(benchmark.train_answers)
    for row, item in zip(rows, benchmark.items, strict=True):
        text = majority_answer(answers, item.type)
        right = strict(text, item.answer, item.closed, item.choices).correct
        row |= {"majority_answer": text, "majority_correct": right}
    return []


def _control_jobs(control: str, items: Sequence[Item], source: Source, seed: int) -> tuple[list[Job], list[str]]:
    if not source.sees_images:
        return [], [f"no {control}-image control: answers come from a file"]
    if control == "blank":
        return [_blank_job(item, _size(item)) for item in items], []
    others = shuffled_images(items, seed)
    if not others:
        return [], ["no shuffled-image control: all questions are about one patient"]
    by_image = {item.image_id: item for item in items}
    shown = [(item, by_image[others[item.image_id]]) for item in items]
    return [Job(item, other.image_id, lambda other=other: open_picture(other)) for item, other in shown], []  # type: ignore[misc]


def _size(item: Item) -> tuple[int, int]:
    """(width, height) of an item's picture, from its header."""
    import PIL.Image

    with PIL.Image.open(io.BytesIO(item.image or b"")) as image:
        return image.size


def _blank_job(item: Item, size: tuple[int, int]) -> Job:
    return Job(item, ("blank", *size), lambda: blank_image(open_picture(item)))


def _add_control(rows: list[dict[str, Any]], control: str, answers: dict[str, Prediction | None]) -> None:
    for row in rows:
        prediction = answers.get(row["id"])
        if prediction is not None:
            said = prediction.answer
            right = strict(said, row["reference"], row["closed"], row["choices"]).correct
            row |= {f"{control}_answer": said, f"{control}_correct": right}
