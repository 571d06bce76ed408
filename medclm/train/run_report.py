"""``report.html`` of a training run: its curves, what the schedule decided, and how its answers changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm import storage
from medclm.data.records import Record
from medclm.train import plots
from medclm.train.log import HISTORY, read_history
from medclm.train.views import STAGES

if TYPE_CHECKING:
    from markupsafe import Markup

    from medclm.train.families import Family

SHOWN_DOMAINS = 8
SHOWN_EVALUATIONS = 4


def write_run_report(run_dir: str | Path, data: str) -> Path:
    """Writes ``RUN/report.html``, one self-contained page, from what the run wrote down.

    Args:
        run_dir: the ``--out`` of a ``medclm train``, exported.
        data: the dataset, for the pictures of the samples.
    """
    from medclm.eval.pages import render_page

    folder = Path(run_dir)
    history = read_history(folder / HISTORY)
    run = storage.read_json(folder / "run.json")
    numbers = [record for record in history if record["kind"] == "numbers"]
    page = render_page(
        "run_report.html.jinja",
        title="Training report",
        run=run,
        config=run["config"],
        curves=_curves(numbers, history),
        drawn=plots.shares([(r["step"], _by_stage(r["drawn"])) for r in numbers], "share of the stages over the steps"),
        domains=_domains(numbers, [record for record in history if record["kind"] == "schedule"]),
        last=_last(history),
        samples=_samples([record for record in history if record["kind"] == "samples"], folder, data),
    )
    storage.write_atomic(str(folder / "report.html"), page.encode())
    return folder / "report.html"


def _curves(numbers: list[dict[str, Any]], history: list[dict[str, Any]]) -> list[tuple[str, str, Markup]]:
    """(title, note, drawing) of each chart that has a point."""

    def of(name: str) -> list[tuple[float, float]]:
        return [(r["step"], r["metrics"][name]) for r in numbers if name in r["metrics"]]

    accuracy = [(r["step"], r["accuracy"]) for r in history if r["kind"] == "accuracy"]
    rates = {key for r in numbers for key in r["metrics"] if key.startswith("lr/")}
    charts: list[tuple[str, str, dict[str, list[tuple[float, float]]], tuple[float | None, float | None]]] = [
        ("Held-out accuracy", "greedy answers with reasoning, validate split", {"main": accuracy}, (0.0, 1.0)),
        ("Answer loss", "cross-entropy a token", {stage: of(f"{stage}/answer") for stage in STAGES}, (0.0, None)),
        ("Reasoning loss", "cross-entropy a token", {s: of(f"{s}/reasoning") for s in STAGES[:2]}, (0.0, None)),
        ("Attention inside the box", "of the supervised heads", {"main": of("mass_in_box")}, (0.0, 1.0)),
        ("Learning rate", "", {f"main:{key}": of(key) for key in sorted(rates)}, (0.0, None)),
        ("Padding", "share of the tokens", {"other": of("padding")}, (0.0, None)),
        ("Speed", "tokens a second, all workers", {"other": of("tokens_per_s")}, (0.0, None)),
        ("MFU", "share of the device's peak", {"other": of("mfu")}, (0.0, None)),
        ("Memory", "GB, highest so far, first worker", {"other": of("memory_gb")}, (0.0, None)),
    ]
    drawn = []
    for title, note, series, (low, high) in charts:
        filled = {key: points for key, points in series.items() if points}
        if filled:
            drawn.append((title, note, plots.lines(filled, f"{title} over the steps", low, high)))
    return drawn


def _by_stage(drawn: dict[str, int]) -> dict[str, float]:
    return {stage: float(sum(n for key, n in drawn.items() if key.rpartition("/")[2] == stage)) for stage in STAGES}


def _domains(numbers: list[dict[str, Any]], decided: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most frequent domains: name, examples, drawing of the stages, and how the schedule sees it at the end."""
    counts: dict[str, int] = {}
    for record in numbers:
        for key, count in record["drawn"].items():
            domain = key.rpartition("/")[0]
            counts[domain] = counts.get(domain, 0) + count
    last = decided[-1]["domains"] if decided else {}
    rows = []
    for domain in sorted(counts, key=lambda name: (-counts[name], name))[:SHOWN_DOMAINS]:
        own = [
            (r["step"], _by_stage({key: n for key, n in r["drawn"].items() if key.rpartition("/")[0] == domain}))
            for r in numbers
        ]
        moved = _moves(domain, decided)
        rows.append(
            {"name": domain, "examples": counts[domain], "drawing": plots.shares(own, f"stages of {domain}"),
             "state": last.get(domain, {}), "moves": moved}
        )  # fmt: skip
    return rows


def _moves(domain: str, decided: list[dict[str, Any]]) -> list[str]:
    """When and why a domain entered a stage."""
    moves, before = [], 0
    for record in decided:
        state = record["domains"].get(domain, {})
        if state.get("stage", before) > before:
            moves.append(f"{STAGES[state['stage']]} at step {record['step']}: {state.get('why') or 'with all domains'}")
            before = state["stage"]
    return moves


def _last(history: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in history:
        found |= record["metrics"] if record["kind"] == "numbers" else {}
        found |= {"accuracy": record["accuracy"]} if record["kind"] == "accuracy" else {}
    return found


def _samples(records: list[dict[str, Any]], folder: Path, data: str) -> list[dict[str, Any]]:
    """Each sampled question with its picture and its answers, from the first evaluation to the last."""
    from medclm.data.shards import read_records
    from medclm.train.model import load_family

    if not records:
        return []
    every = max(1, len(records) // SHOWN_EVALUATIONS)
    chosen = [*records[:-1:every][: SHOWN_EVALUATIONS - 1], records[-1]]
    wanted = {sample["image_id"] for sample in records[-1]["samples"]}
    pictures = {r.image_id: r for r in read_records(data, "validate") if r.image_id in wanted}
    family = load_family(folder / "model")
    shown = []
    for place, sample in enumerate(records[-1]["samples"]):
        record = pictures.get(sample["image_id"])
        if record is not None:
            texts = [(r["step"], r["samples"][place]["text"]) for r in chosen if place < len(r["samples"])]
            shown.append(_sample(sample, record, texts, family))
    return shown


def _sample(sample: dict[str, Any], record: Record, texts: list[tuple[int, str]], family: Family) -> dict[str, Any]:
    from medclm.eval.pages import Mark, figure
    from medclm.train.views import parse_answer, pixels

    assert record.image is not None, "a built record has its picture"
    size_hw = (record.image.height, record.image.width)
    parsed = [(step, parse_answer(text, size_hw, family)) for step, text in texts]
    marks = [Mark(finding.box_xyxy, "reference", finding.label) for finding in record.findings]
    marks += [Mark(step.box_xyxy, "predicted") for step in parsed[-1][1].steps if step.box_xyxy]
    drawing = figure(pixels(record.image), marks, alt=f"{sample['question']} {sample['answer']}")
    wanted = sample["answer"].lower().split()
    answers = [
        {"step": step, "answer": found.answer or "(none)", "right": found.answer.lower().split() == wanted,
         "steps": [one.text for one in found.steps]}
        for step, found in parsed
    ]  # fmt: skip
    return {"figure": drawing, "question": sample["question"], "answer": sample["answer"], "answers": answers}
