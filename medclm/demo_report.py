"""``report.html`` of ``medclm demo``: the whole chain as pictures, what it reached and beside which controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm import storage
from medclm.data.records import BoxXyxy, Question, Record

if TYPE_CHECKING:
    from markupsafe import Markup

SMALL_PX = 32 * 32
"""Area of a finding that makes a telling example in a picture of 128 x 128."""


def write_demo_report(
    out: Path,
    summary: dict[str, Any],
    eval_full: dict[str, Any],
    eval_flat: dict[str, Any],
    dataset_dir: str | Path,
    served: dict[str, Any],
) -> Path:
    """Writes OUT/report.html and returns its path.

    Args:
        out: the demo's directory; ``OUT/eval-curriculum/predictions.parquet`` is read for the example.
        summary: what summary.json holds (accuracy, controls, seconds by step, commands, counts).
        eval_full: eval.json of the curriculum model, with one medclm benchmark.
        eval_flat: eval.json of the flat model on the same questions.
        dataset_dir: the built dataset.
        served: image_id, question, reference, request and response of one served answer.
    """
    from medclm.eval.pages import bar, render_page

    full, flat = _benchmark(eval_full), _benchmark(eval_flat)
    page = render_page(
        "demo_report.html.jinja",
        title="From detection boxes to a served answer",
        summary=summary,
        bars=_bars(full, flat),
        full=full,
        flat=flat,
        strip=_strip(out, str(dataset_dir)),
        served=_served(str(dataset_dir), served),
        slowest=max((s for step, s in summary["seconds"].items() if step != "total"), default=1.0),
        software=eval_full["software"],
        bar=bar,
    )
    storage.write_atomic(out / "report.html", page.encode())
    return out / "report.html"


def _benchmark(result: dict[str, Any]) -> dict[str, Any]:
    return next(iter(result["benchmarks"].values()))


def _bars(full: dict[str, Any], flat: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the chart: text, note, interval, tone."""
    rows = [
        {"text": "three-stage curriculum", "note": "Easy, Medium, Hard", "values": full["accuracy"], "tone": "main"},
        {"text": "flat fine-tuning", "note": "same steps, answers only", "values": flat["accuracy"], "tone": "other"},
    ]
    texts = {
        "majority": ("majority answer", "per type, from training"),
        "blank": ("blank image", "curriculum model, grey picture"),
        "shuffled": ("another patient’s image", "curriculum model"),
    }
    for name, (text, note) in texts.items():
        if name in full["controls"]:
            values = full["controls"][name]["accuracy"]
            rows.append({"text": text, "note": note, "values": values, "tone": "control"})
    return rows


def _strip(out: Path, dataset_dir: str) -> dict[str, Any]:
    """The chain on one held-out row: the picture, its organs, the linked finding, the views, the prediction."""
    from medclm.data.anatomy import finding_text, organ_text
    from medclm.data.preview import STAGE_TEXT, organ_figure, picture_of, training_views
    from medclm.eval.pages import Mark, figure

    record, question, row = _example(out, dataset_dir)
    name = f"picture-{record.image_id}"
    finding = next((f for f in record.findings if f.id in question.finding_ids), None)
    reference = [Mark(f.box_xyxy, "reference", finding_text(f.label)) for f in record.findings]
    predicted = [Mark(_box(box), "predicted") for box in row["predicted_boxes"] or ()]
    return {
        "record": record,
        "question": question,
        "finding": finding,
        "finding_text": finding_text(finding.label) if finding else "",
        "organ_text": organ_text(finding.organ or "no clear organ") if finding else "",
        "row": row,
        "picture": figure(picture_of(record), alt="the picture", name=name),
        "organs": organ_figure(record),
        "linked": figure(picture_of(record), reference, "the finding", name=name, reuse=True),
        "views": training_views(record, question),
        "stage_text": STAGE_TEXT,
        "prediction": figure(
            picture_of(record), [Mark(m.box_xyxy, "reference") for m in reference] + predicted,
            "reference and predicted boxes", name=name, reuse=True,
        ),
        "steps": [step for step in row["steps"] or () if step["text"]],
    }  # fmt: skip


def _example(out: Path, dataset_dir: str) -> tuple[Record, Question, dict[str, Any]]:
    """A held-out question with its row of predictions: one answered rightly with the best box, where there is one.

    Questions for the organ of one small finding come first: a box as large as the heart is found without looking.
    """
    import pyarrow.parquet as pq

    from medclm.data.shards import read_records

    rows = pq.read_table(out / "eval-curriculum" / "predictions.parquet").to_pylist()
    best = max(rows, key=_telling)
    record = next(r for r in read_records(dataset_dir, split="test") if r.image_id == best["image_id"])
    return record, next(q for q in record.questions if q.id == best["id"]), best


def _telling(row: dict[str, Any]) -> tuple[bool, bool, bool, float]:
    """Rank of a row as the example: right, about one small finding, asking for its organ, best box."""
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in row["reference_boxes"] or ()]
    small = len(areas) == 1 and areas[0] <= SMALL_PX
    return bool(row["correct"]), small, row["type"] == "organ", row["iou"] or 0.0


def _box(values: list[float]) -> BoxXyxy:
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def _served(dataset_dir: str, served: dict[str, Any]) -> dict[str, Any]:
    """The served question with its picture, and both JSON texts with long strings cut."""
    from medclm.data.preview import picture_of
    from medclm.data.shards import read_records
    from medclm.eval.pages import figure

    records = read_records(dataset_dir, split="test")
    record = next((r for r in records if r.image_id == served["image_id"]), None)
    picture: Markup | str = figure(picture_of(record), alt="the picture that was sent") if record else ""
    texts = {key: json.dumps(_cut(served[key]), indent=2, ensure_ascii=False) for key in ("request", "response")}
    return {**served, **texts, "figure": picture}


def _cut(value: Any, limit: int = 400) -> Any:
    """The same JSON with texts longer than ``limit`` cut short, and their length said."""
    if isinstance(value, dict):
        return {key: _cut(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, limit) for item in value]
    if isinstance(value, str) and len(value) > limit:
        return f"{value[:60]}… ({len(value)} characters)"
    return value
