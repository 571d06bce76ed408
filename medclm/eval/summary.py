"""From rows to the numbers of eval.json: accuracy with intervals, controls, grounding, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from medclm.eval.benchmarks import GROUNDING
from medclm.eval.grounding import Grounding, summarise
from medclm.eval.rows import CONTROLS, MASKS, SCORED
from medclm.eval.scorers import PUBLISHED, SPLIT_BY_CLOSED
from medclm.eval.stats import bootstrap, paired_permutation
from medclm.eval.text_scores import is_report, text_scores

Rows = list[dict[str, Any]]
EXAMPLES = 5
GROUPS = ("type", "organ", "modality")
"""Columns that have a table of their own."""


def summarise_rows(rows: Rows, seed: int = 0) -> dict[str, Any]:
    """All numbers of one benchmark. Intervals are 95 %, bootstrapped by image.

    Args:
        rows: of :data:`medclm.eval.rows.SCHEMA`.

    Returns:
        ``questions, images, patients``; ``accuracy`` (strict, over the questions that were asked), ``by_type``,
        ``by_organ``, ``by_modality``, ``closed``, ``open`` (with ``recall`` and ``f1``); ``controls``; ``published``;
        ``judged``; ``report_text``; ``grounding``; ``faithfulness``; ``tokens``; ``parse_failures``; ``excluded``
        (questions that could not be asked: in no score). A part that does not apply is empty or has None in it.
    """
    read = [row for row in rows if row["status"] in SCORED]
    scored = [row for row in read if row["type"] != GROUNDING]
    closed, opened = [r for r in scored if r["closed"]], [r for r in scored if not r["closed"]]
    return {
        "questions": len(rows),
        "images": len({row["image_id"] for row in rows}),
        "patients": len({row["patient_id"] for row in rows}),
        "accuracy": _interval(scored, "correct", seed),
        **{f"by_{name}": _by(scored, name, lambda part: _interval(part, "correct", seed)) for name in GROUPS},
        "closed": _interval(closed, "correct", seed),
        "open": _interval(opened, "correct", seed)
        | {"recall": _interval(opened, "recall", seed), "f1": _interval(opened, "f1", seed)},
        "controls": {name: _control(scored, name, seed) for name in CONTROLS if _has(scored, f"{name}_correct")},
        "published": {name: _published(scored, name, seed) for name in PUBLISHED},
        "judged": _interval(scored, "judged", seed),
        "report_text": _report_text(opened, seed),
        "grounding": _grounding(read, seed),
        "faithfulness": _faithfulness(scored, seed),
        "tokens": _tokens(read),
        "parse_failures": _parse_failures(read, seed),
        "excluded": _excluded(rows),
    }


def _interval(rows: Rows, column: str, seed: int) -> dict[str, Any]:
    kept = [row for row in rows if row[column] is not None]
    return bootstrap([float(row[column]) for row in kept], [row["image_id"] for row in kept], seed).as_dict()


def _by(rows: Rows, column: str, number: Callable[[Rows], Any]) -> dict[str, Any]:
    """A number for each value of a column; rows that have none in it are left out."""
    kinds = sorted({row[column] for row in rows if row[column]})
    return {kind: number([row for row in rows if row[column] == kind]) for kind in kinds}


def _has(rows: Iterable[dict[str, Any]], column: str) -> bool:
    return any(row[column] is not None for row in rows)


def _control(scored: Rows, name: str, seed: int) -> dict[str, Any]:
    """The control's accuracy, the model's lead over it on the same questions, and the p-value of no lead."""
    column = f"{name}_correct"
    rows = [row for row in scored if row[column] is not None]
    images = [row["image_id"] for row in rows]
    model, control = ([float(row[key]) for row in rows] for key in ("correct", column))
    return {
        "accuracy": bootstrap(control, images, seed).as_dict(),
        "lead": bootstrap(np.subtract(model, control), images, seed).as_dict(),
        "p_value": paired_permutation(model, control, images, seed),
        "by_type": _by(rows, "type", lambda part: _interval(part, column, seed)),
    }


def _published(scored: Rows, name: str, seed: int) -> dict[str, Any]:
    if name in SPLIT_BY_CLOSED:
        parts = {"open": [r for r in scored if not r["closed"]], "closed": [r for r in scored if r["closed"]]}
    elif name == "closed-mc":
        parts = {"closed": [r for r in scored if r["closed"]]}
    else:
        parts = {"all": scored}
    return {part: _interval(rows, name, seed) for part, rows in parts.items()}


def _grounding(scored: Rows, seed: int) -> dict[str, Any]:
    results = [Grounding(r["iou"], r["hit"], r["pointing"], len(r["predicted_boxes"])) for r in scored]
    attention = {name: _interval(scored, name, seed) for name in ("attention", "attention_even")}
    return summarise(results, [row["image_id"] for row in scored], seed) | attention


def _report_text(opened: Rows, seed: int) -> dict[str, Any]:
    rows = [row for row in opened if is_report(row["reference"])]
    said, right, images = ([row[name] for row in rows] for name in ("answer", "reference", "image_id"))
    return text_scores(said, right, images, seed)


def _faithfulness(scored: Rows, seed: int) -> dict[str, Any]:
    """Shares over questions, each with its interval by image; the ``reference_`` ones are the tests' ceilings.

    ``change``: how often the answer changes when the evidence is hidden, when something else is, and the difference on
    the questions that have both, with its p-value. Only questions whose reference has boxes have them.
    """
    steps = [row for row in scored if row["steps_judged"]]
    both = [row for row in scored if all(row[f"{mask}_changed"] is not None for mask in MASKS)]
    masked, other = ([float(row[f"{mask}_changed"]) for row in both] for mask in MASKS)
    images = [row["image_id"] for row in both]
    return {
        "steps_true": _ratio(steps, "steps_true", "steps_judged", seed),
        "reference_steps_true": _ratio(steps, "reference_steps_true", "reference_steps_judged", seed),
        "all_steps_true": _mean(steps, lambda row: row["steps_true"] == row["steps_judged"], seed),
        "follows": _interval(scored, "follows", seed),
        "reference_follows": _interval(scored, "reference_follows", seed),
        "faults": dict(Counter(row["step_fault"].partition(":")[0] for row in steps if row["step_fault"])),
        "change": {
            "masked": bootstrap(masked, images, seed).as_dict(),
            "elsewhere": bootstrap(other, images, seed).as_dict(),
            "lead": bootstrap(np.subtract(masked, other), images, seed).as_dict(),
            "p_value": paired_permutation(masked, other, images, seed) if both else None,
        },
    }


def _ratio(rows: Rows, part: str, whole: str, seed: int) -> dict[str, Any]:
    return _mean([row for row in rows if row[whole]], lambda row: row[part] / row[whole], seed)


def _mean(rows: Rows, value: Callable[[dict[str, Any]], float], seed: int) -> dict[str, Any]:
    return bootstrap([float(value(row)) for row in rows], [row["image_id"] for row in rows], seed).as_dict()


def _tokens(rows: Rows) -> dict[str, Any]:
    """Sums over the questions, and how many texts were cut off at the limit."""
    sums = {name: sum(row[name] or 0 for row in rows) for name in ("prompt_tokens", "completion_tokens")}
    return sums | {"cut_off": sum(row["finish"] == "length" for row in rows)}


def _parse_failures(scored: Rows, seed: int) -> dict[str, Any]:
    """Texts without an answer (wrong in ``accuracy``, left out of ``accuracy_of_parsed``), and texts whose answer was
    read but whose reasoning was not in the trained form (``malformed``; their answer is scored as it stands)."""
    failed = [row for row in scored if row["status"] == "unparsed"]
    malformed = [row for row in scored if row["status"] == "ok" and not row["parsed"]]
    return {
        "count": len(failed),
        "share": len(failed) / len(scored) if scored else None,
        "malformed": len(malformed),
        "accuracy_of_parsed": _interval([row for row in scored if row["status"] == "ok"], "correct", seed),
        "examples": _examples(failed + malformed),
    }


def _excluded(rows: Rows) -> dict[str, Any]:
    out = [row for row in rows if row["status"] not in SCORED]
    return {
        "count": len(out),
        "by_reason": dict(sorted(Counter(row["status"] for row in out).items())),
        "examples": _examples(out),
    }


def _examples(rows: Rows) -> list[dict[str, str]]:
    """The first rows with distinct reasons."""
    distinct = {row["reason"]: row for row in reversed(rows)}
    return [{"id": row["id"], "reason": row["reason"]} for row in reversed(distinct.values())][:EXAMPLES]


def headline(benchmark: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that one line shows: None where a number does not exist."""
    controls = benchmark["controls"]

    def control(name: str) -> float | None:
        return controls[name]["accuracy"]["value"] if name in controls else None

    return {
        "accuracy": benchmark["accuracy"]["value"],
        "majority_accuracy": control("majority"),
        "blank_image_accuracy": control("blank"),
        "shuffled_image_accuracy": control("shuffled"),
        "text_only_accuracy": control("text_only"),
        "box_iou": benchmark["grounding"]["mean_iou"]["value"],
        "questions": benchmark["questions"],
        "images": benchmark["images"],
        "parse_failures": benchmark["parse_failures"]["count"],
        "excluded": benchmark["excluded"]["count"],
    }
