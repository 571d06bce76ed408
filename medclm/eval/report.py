"""``report.html`` of an evaluation: the numbers beside their controls, then pictures with boxes and verdicts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medclm import storage
from medclm.eval.asks import open_image
from medclm.eval.benchmarks import Benchmark, Item
from medclm.eval.pages import Mark, bar, figure, interval, number, percent, pvalue, render_page
from medclm.eval.rows import SCORED

SHOWN = 9
"""Pictures shown of each verdict and benchmark."""
CONTROL_TEXT = {
    "majority": "majority answer per question type, from training",
    "blank": "blank image",
    "shuffled": "another patient's image",
    "text_only": "no image at all",
}
CHARS = 400
"""Characters of a text that a page shows."""


def write_report(
    out: str | Path, result: dict[str, Any], rows: list[dict[str, Any]], benchmarks: Sequence[Benchmark], seed: int = 0
) -> None:
    """Writes OUT/report.html.

    Args:
        result: what eval.json holds.
        rows: of :data:`medclm.eval.rows.SCHEMA`, all benchmarks.
        benchmarks: where the pictures come from.
        seed: chooses the examples.
    """
    shots = {}
    for benchmark in benchmarks:
        items = {item.id: item for item in benchmark.items}
        own = [row for row in rows if row["benchmark"] == benchmark.name]
        shots[benchmark.name] = {
            verdict: [_shot(row, items[row["id"]]) for row in choose(own, verdict, SHOWN, seed)]
            for verdict in ("wrong", "right", "no answer")
        }
    page = render_page(
        "eval.html.jinja",
        title="Evaluation report",
        result=result,
        shots=shots,
        bar=bar,
        control_text=CONTROL_TEXT,
    )
    storage.write_atomic(storage.join(out, "report.html"), page.encode())


def choose(rows: list[dict[str, Any]], verdict: str, count: int, seed: int) -> list[dict[str, Any]]:
    """At most ``count`` rows of a verdict ("right", "wrong", "no answer"), one of each question type in turn."""
    fits = {
        "right": is_right,
        "wrong": lambda row: row["status"] == "ok" and not is_right(row),
        "no answer": lambda row: row["status"] == "unparsed",
    }[verdict]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["status"] in SCORED and fits(row):
            groups[row["type"]].append(row)
    rng = random.Random(seed)
    chosen: list[dict[str, Any]] = []
    queues = [rng.sample(group, len(group)) for _, group in sorted(groups.items())]
    while queues and len(chosen) < count:
        chosen += [queue.pop() for queue in queues][: count - len(chosen)]
        queues = [queue for queue in queues if queue]
    return chosen


def is_right(row: dict[str, Any]) -> bool:
    """By the strict scorer; a question that only asks where is right when every box is hit (IoU of 0.5 at least)."""
    return row["hit"] == 1 if row["correct"] is None else bool(row["correct"])


def _short(text: str) -> str:
    return text if len(text) <= CHARS else f"{text[:CHARS]} … ({len(text)} characters)"


def _shot(row: dict[str, Any], item: Item) -> dict[str, Any]:
    marks = [Mark(tuple(box), "reference") for box in row["reference_boxes"]]  # type: ignore[arg-type]
    marks += [Mark(tuple(box), "predicted") for box in row["predicted_boxes"] or ()]  # type: ignore[arg-type]
    picture = figure(
        open_image(item.image, item.image_id), marks, alt=f"image {item.image_id} with reference and predicted boxes"
    )
    steps = [{**step, "text": _short(step["text"])} for step in row["steps"] or () if step["text"]]
    shown = {**row, "answer": _short(row["answer"] or "")}
    return {"row": shown, "right": is_right(row), "figure": picture, "steps": steps}


def print_summary(result: dict[str, Any], out: str | Path) -> None:
    """The headline numbers of an evaluation in the terminal, a table for each benchmark."""
    from medclm import terminal

    for name, benchmark in result["benchmarks"].items():
        few = result["summary"][name]
        rows = {}
        if few["accuracy"] is not None:
            rows["accuracy (strict)"] = f"{percent(few['accuracy'])}  (95 %: {interval(benchmark['accuracy'])})"
        for control, values in benchmark["controls"].items():
            rows[f"{control} control"] = f"{percent(values['accuracy']['value'])}  ({pvalue(values['p_value'])})"
        if few["box_iou"] is not None:
            rows["box IoU"] = number(few["box_iou"])
        change = benchmark["faithfulness"]["change"]
        if change["p_value"] is not None:
            masked, other = (percent(change[name]["value"]) for name in ("masked", "elsewhere"))
            rows["answer changes"] = f"{masked} evidence hidden, {other} elsewhere  ({pvalue(change['p_value'])})"
        rows["without an answer"] = str(few["parse_failures"])
        rows["could not be asked"] = str(few["excluded"])
        terminal.table(f"{name}: {few['questions']} questions, {few['images']} images", rows)
    terminal.out.print(f"Written: {storage.join(out, 'report.html')}", soft_wrap=True)
    terminal.out.print(f"Next: open it; the numbers are in {storage.join(out, 'eval.json')}", soft_wrap=True)
