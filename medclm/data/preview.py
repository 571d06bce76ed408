"""The preview of a built dataset: a page of rows to look at, so that a person can judge what a model will be taught.

Each row shows the picture with its findings and organ outlines, the earlier image where there is one, every question
with its choices, its reasoning, the boxes and facts that the steps rest on, and, for one question, the three training
views side by side (METHOD section 2). The page has no script: pointing at a step shows its box by CSS alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm import storage
from medclm.data import boxes
from medclm.data.anatomy import finding_text, organ_text, organs
from medclm.data.knowledge import knowledge_base
from medclm.data.record_table import from_table
from medclm.data.records import BoxXyxy, Finding, Image, Question, Record
from medclm.data.shards import shard_files
from medclm.errors import MedclmError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
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
MAX_BOXES = 12
"""Boxes of one question that can be pointed at."""
SHARES = {"boxes": 2 / 3, "labels": 1 / 6, "normal": 1 / 6}
"""What is shown of each kind of row: findings with boxes, labels of the whole image only, no finding."""


def write_preview(directory: str | Path, out_html: str | Path, limit: int = 12, seed: int = 0) -> Path | str:
    """Writes the page and returns its address.

    Args:
        directory: a built dataset.
        out_html: the file to write.
        limit: rows shown; of larger datasets a sample, of each kind as many as :data:`SHARES` says where there are
            enough.
        seed: of the sample.

    Raises:
        UsageError: no finished dataset, or one without rows.
    """
    from medclm.eval.pages import render_page

    ids = _chosen(str(directory), limit, seed)
    if not ids:
        raise UsageError("the dataset has no rows", where=directory)
    rows = {record.image_id: record for table in _tables(str(directory), ids) for record in from_table(table)}
    page = render_page(
        "preview.html.jinja",
        title="Dataset preview",
        name=str(directory).rstrip("/").rpartition("/")[2] or str(directory),
        rows=[row_context(rows[image_id]) for image_id in ids],
        stage_text=STAGE_TEXT,
        max_boxes=MAX_BOXES,
    )
    storage.write_atomic(out_html, page.encode())
    return out_html


def _chosen(directory: str, limit: int, seed: int) -> list[str]:
    """Image ids in the order shown, drawn by ``seed``."""
    groups: dict[str, list[str]] = {kind: [] for kind in SHARES}
    for table in _tables(directory, columns=["image_id", "image.width", "findings", "labels"]):
        for row in (row for row in table.to_pylist() if row["width"] is not None):
            groups["boxes" if row["findings"] else "labels" if row["labels"] else "normal"].append(row["image_id"])
    rng = random.Random(seed)
    drawn = {kind: rng.sample(group, len(group)) for kind, group in groups.items()}
    chosen = [image for kind, share in SHARES.items() for image in drawn[kind][: round(limit * share)]]
    rest = [image for kind in reversed(SHARES) for image in drawn[kind] if image not in set(chosen)]
    chosen = (chosen + rest[: max(limit - len(chosen), 0)])[:limit]
    rng.shuffle(chosen)
    return chosen


def _tables(directory: str, ids: list[str] | None = None, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """One table a shard: only the rows of ``ids``, only ``columns``."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pc.field("image_id").isin(ids) if ids is not None else None
    for url in shard_files(directory):
        fs, path = storage.open_fs(url)
        try:
            with fs.open(path, "rb") as file:
                yield pq.read_table(file, columns=columns, filters=wanted)
        except (OSError, ValueError) as error:
            remedy = "run the same `medclm data build` again"
            raise MedclmError("a shard cannot be read", where=url, got=error, remedy=remedy) from error


def row_context(record: Record) -> dict[str, Any]:
    """What the template shows of a record with a picture."""
    from medclm.eval.pages import organ_colors

    question = main_question(record)
    return {
        "record": record,
        "figure": finding_figure(record),
        "organs": organ_colors(_masks(record)),
        "findings": [_finding_text(finding) for finding in record.findings],
        "labels": [finding_text(label) for label in record.labels],
        "absent": [finding_text(label) for label in record.labels_absent],
        "prior": _prior_context(record),
        "questions": [
            {"question": q, "figure": _evidence_figure(record, q), "steps": _steps(q)} for q in record.questions
        ],
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
    assert record.image is not None, "rows without a picture are not chosen"
    return _pixels(record.image, record.image_id)


def _pixels(image: Image, image_id: str) -> Any:
    from medclm.data.images import decode_png, read_picture, render

    if image.format == "png":
        return decode_png(image.bytes, image_id)
    return render(read_picture(image.bytes, image_id))[0]


def _masks(record: Record) -> dict[str, Any]:
    """Masks of the deepest organs by their text, largest first."""
    assert record.image is not None, "rows without a picture are not chosen"
    parents = {organs()[organ.name].parent for organ in record.organs if organ.name in organs()}
    leaves = sorted((o for o in record.organs if o.name not in parents), key=lambda organ: (-organ.area_px, organ.name))
    size_hw = (record.image.height, record.image.width)
    return {organ_text(organ.name): boxes.decode_rle(organ.rle, size_hw) for organ in leaves[:MAX_ORGANS]}


def _finding_text(finding: Finding) -> dict[str, str]:
    facts = [f"covered {finding.coverage:.0%}"] if finding.coverage is not None else []
    facts += [f"{finding.size_mm:.0f} mm"] if finding.size_mm is not None else []
    facts += [finding.zone + " zone"] if finding.zone else []
    shown = sorted((key, value) for key, value in finding.attributes.items() if key not in SAID_ALREADY)
    facts += [f"{key.replace('_', ' ')} {value}" for key, value in shown]
    where = " › ".join(organ_text(organ) for organ in finding.organ_path) or organ_text(finding.organ or "not linked")
    return {"label": finding_text(finding.label), "where": where, "facts": ", ".join(facts)}


def _prior_context(record: Record) -> dict[str, Any] | None:
    """The earlier image with its findings' boxes, in pixels of its own picture; None where there is none."""
    from medclm.eval.pages import Mark, figure

    prior = record.prior
    if prior is None or prior.image is None:
        return None
    marks = [Mark(finding.box_xyxy, "reference", finding_text(finding.label)) for finding in prior.findings]
    when = "at an unknown date" if prior.days is None else f"{prior.days} days earlier"
    alt = f"earlier image {prior.image_id} with findings"
    return {
        "figure": figure(_pixels(prior.image, prior.image_id), marks, alt),
        "when": when,
        "image_id": prior.image_id,
    }


def _box_steps(question: Question) -> dict[BoxXyxy, list[str]]:
    """The boxes of a question's reasoning in the order drawn, each with the names of the steps that share it."""
    found: dict[BoxXyxy, list[str]] = {}
    for step in question.reasoning:
        if step.box_xyxy is not None:
            found.setdefault(step.box_xyxy, []).append(step.step)
    return found


def _steps(question: Question) -> list[dict[str, Any]]:
    """Each step with the place of its box in the figure (None without one) and its facts as id, text and source."""
    places = {box: place for place, box in enumerate(_box_steps(question))}
    known = knowledge_base().facts
    return [
        {
            "step": step,
            "place": places[step.box_xyxy] if step.box_xyxy is not None else None,
            "facts": [
                {"id": i, "text": known[i].text if i in known else "", "source": known[i].source if i in known else ""}
                for i in step.facts
            ],
        }
        for step in question.reasoning
    ]


def _evidence_figure(record: Record, question: Question) -> Markup:
    """The picture with the box of each reasoning step, named by the steps that share it."""
    from medclm.eval.pages import Mark, figure

    marks = [Mark(box, "reference", ", ".join(dict.fromkeys(steps))) for box, steps in _box_steps(question).items()]
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
