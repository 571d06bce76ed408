"""The preview of a built dataset: a page of rows to look at, so that a person can judge what a model will be taught.

Each row shows the picture with its findings and organ outlines, every question with its reasoning and evidence boxes,
and, for one question, the three training views side by side (METHOD section 2).
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm import storage
from medclm.data import boxes
from medclm.data.anatomy import finding_text, organ_text, organs
from medclm.data.records import Question, Record
from medclm.data.shards import read_records
from medclm.errors import UsageError

if TYPE_CHECKING:
    from markupsafe import Markup

STAGE_TEXT = {
    "easy": "Easy: box drawn",
    "medium": "Medium: no box, attention supervised",
    "hard": "Hard: answer only",
}
SAID_ALREADY = frozenset({"organ", "side", "zone", "mean_value"})
"""Attributes that the page shows by other fields."""
MAX_ORGANS = 10
"""Outlines drawn in a picture, the largest of the deepest organs."""


def write_preview(directory: str | Path, out_html: str | Path, limit: int = 12, seed: int = 0) -> Path | str:
    """Writes the page and returns its address.

    Args:
        directory: a built dataset.
        out_html: the file to write.
        limit: rows shown; of larger datasets a sample, two thirds of it rows with findings where there are enough.
        seed: of the sample.

    Raises:
        UsageError: no finished dataset, or one without rows.
    """
    from medclm.eval.pages import render_page

    ids = _chosen(str(directory), limit, seed)
    if not ids:
        raise UsageError("the dataset has no rows", where=directory)
    rows = {record.image_id: record for record in read_records(str(directory)) if record.image_id in ids}
    page = render_page(
        "preview.html.jinja",
        title="Dataset preview",
        name=str(directory).rstrip("/").rpartition("/")[2] or str(directory),
        rows=[row_context(rows[image_id]) for image_id in ids],
        stage_text=STAGE_TEXT,
    )
    storage.write_atomic(out_html, page.encode())
    return out_html


def _chosen(directory: str, limit: int, seed: int) -> list[str]:
    """Image ids in the order shown, drawn by ``seed``."""
    groups: dict[bool, list[str]] = {True: [], False: []}
    for record in read_records(directory):
        if record.image is not None:
            groups[bool(record.findings)].append(record.image_id)
    rng = random.Random(seed)
    found, normal = (rng.sample(group, len(group)) for group in (groups[True], groups[False]))
    few = min(len(normal), max(limit // 3, limit - len(found)))
    chosen = found[: limit - few] + normal[:few]
    rng.shuffle(chosen)
    return chosen


def row_context(record: Record) -> dict[str, Any]:
    """What the template shows of a record with a picture."""
    from medclm.eval.pages import organ_colors

    question = main_question(record)
    return {
        "record": record,
        "figure": finding_figure(record),
        "organs": organ_colors(_masks(record)),
        "findings": [_finding_text(record, place) for place in range(len(record.findings))],
        "questions": [{"question": q, "figure": _evidence_figure(record, q)} for q in record.questions],
        "main": question,
        "views": training_views(record, question) if question else [],
    }


def main_question(record: Record) -> Question | None:
    """The question whose training views are shown: one about a finding where there is one, the longest reasoning."""
    return max(record.questions, key=lambda q: (bool(q.finding_ids), len(q.reasoning)), default=None)


def finding_figure(record: Record) -> Markup:
    """The picture with the boxes of its findings and the outlines of its deepest organs."""
    from medclm.eval.pages import Mark, figure

    marks = [Mark(finding.box_xyxy, "reference", finding_text(finding.label)) for finding in record.findings]
    alt = f"image {record.image_id} with findings and organs"
    return figure(picture_of(record), marks, alt, _masks(record), name=f"picture-{record.image_id}")


def organ_figure(record: Record) -> Markup:
    """The picture, named by an earlier figure of the page, with the outlines of its deepest organs."""
    from medclm.eval.pages import figure

    name, alt = f"picture-{record.image_id}", f"organs of image {record.image_id}"
    return figure(picture_of(record), (), alt, _masks(record), name=name, reuse=True)


def picture_of(record: Record) -> Any:
    """The row's picture, decoded: (H, W) or (H, W, 3) uint8."""
    from medclm.data.images import decode_png, read_picture, render

    assert record.image is not None, "rows without a picture are not chosen"
    if record.image.format == "png":
        return decode_png(record.image.bytes, record.image_id)
    return render(read_picture(record.image.bytes, record.image_id))[0]


def _masks(record: Record) -> dict[str, Any]:
    """Masks of the deepest organs by their text, largest first."""
    assert record.image is not None, "rows without a picture are not chosen"
    parents = {organs()[organ.name].parent for organ in record.organs if organ.name in organs()}
    leaves = sorted((o for o in record.organs if o.name not in parents), key=lambda organ: (-organ.area_px, organ.name))
    size_hw = (record.image.height, record.image.width)
    return {organ_text(organ.name): boxes.decode_rle(organ.rle, size_hw) for organ in leaves[:MAX_ORGANS]}


def _finding_text(record: Record, place: int) -> dict[str, str]:
    finding = record.findings[place]
    facts = [f"covered {finding.coverage:.0%}"] if finding.coverage is not None else []
    facts += [f"{finding.size_mm:.0f} mm"] if finding.size_mm is not None else []
    facts += [finding.zone + " zone"] if finding.zone else []
    shown = sorted((key, value) for key, value in finding.attributes.items() if key not in SAID_ALREADY)
    facts += [f"{key.replace('_', ' ')} {value}" for key, value in shown]
    where = " › ".join(organ_text(organ) for organ in finding.organ_path) or organ_text(finding.organ or "not linked")
    return {"label": finding_text(finding.label), "where": where, "facts": ", ".join(facts)}


def _evidence_figure(record: Record, question: Question) -> Markup:
    """The picture with the box of each reasoning step, named by the steps that share it."""
    from medclm.eval.pages import Mark, figure

    names: dict[tuple, list[str]] = {}
    for step in question.reasoning:
        if step.box_xyxy is not None:
            names.setdefault(step.box_xyxy, []).append(step.step)
    marks = [Mark(box, "reference", ", ".join(dict.fromkeys(steps))) for box, steps in names.items()]
    alt = f"evidence boxes of {question.id}"
    return figure(picture_of(record), marks, alt, name=f"picture-{record.image_id}", reuse=True)


def training_views(record: Record, question: Question) -> list[dict[str, Any]]:
    """The three views of a question as training makes them: stage, figure, target text.

    Boxes in the text are in pixels of the picture here; a model's family writes them on its own grid.
    """
    import dataclasses

    from medclm.eval.pages import Mark, figure
    from medclm.train.families import FAMILIES
    from medclm.train.views import STAGES, make_view, pixels

    assert record.image is not None, "rows without a picture are not chosen"
    family = dataclasses.replace(next(iter(FAMILIES.values())), frame_size=max(record.image.height, record.image.width))
    shown = []
    for stage in STAGES:
        view = make_view(record, question, stage, family)
        marks = [Mark(box, "attention") for box in view.loc_boxes if not view.drawn]
        picture = figure(
            pixels(view.image, view.drawn), marks, f"{stage} view of {question.id}",
            name="" if view.drawn else f"picture-{record.image_id}", reuse=not view.drawn,
        )  # fmt: skip
        shown.append({"stage": stage, "figure": picture, "target": re.sub(r"\n\s*\n", "\n", view.target)})
    return shown
