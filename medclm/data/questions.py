"""Balanced template questions about one record, each with its answer and its reasoning.

What is asked is a pure function of (record, catalogue, seed); wordings live in ``templates.yaml``. At least as many
is-there questions are answered "no" as "yes", images without findings are asked about too, and so is normal anatomy.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from medclm.data import boxes
from medclm.data.anatomy import finding_name, finding_text, organ_text, organs
from medclm.data.rationale import a, annotated, conclusion_step, explain, place_text, survey, view_step, view_text
from medclm.data.records import Finding, Question, Record, Step

NO_FINDING = "no abnormality"
LARGER_BY = 1.3
"""A which-is-larger question is asked when one area is at least this many times the other."""


@dataclass(frozen=True)
class Catalogue:
    """What the whole dataset holds: decides which absent findings are asked for and whether `view` tells anything."""

    labels: tuple[str, ...]
    views: tuple[str, ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Catalogue:
        labels: set[str] = set()
        views: set[str] = set()
        for record in records:
            labels.update(finding.label for finding in record.findings)
            views.add(view_text(record))
        return cls(tuple(sorted(labels)), tuple(sorted(views)))


@cache
def templates() -> dict[str, list[str]]:
    """The wordings by question type; ``what_in`` is the wording of `what` when an image has several findings."""
    document = yaml.safe_load((Path(__file__).parent / "templates.yaml").read_text())
    return {key: value for key, value in document.items() if key != "version"}


def ask(record: Record, catalogue: Catalogue, *, seed: int, limit: int, complete: bool = True) -> tuple[Question, ...]:
    """The questions of one linked record.

    Args:
        record: with organs and linked findings.
        catalogue: of the whole dataset.
        seed: of the build; the same seed gives the same questions.
        limit: at most this many questions. Types are kept in turn, so that none is crowded out.
        complete: False when some finding of the image was set aside; then nothing is asked that counts on absence.
    """
    rng = random.Random(f"{seed}/{record.image_id}")
    drafts = [*_about_findings(record), *_about_anatomy(record, rng)]
    if len(catalogue.views) > 1:
        drafts.append(_view(record, catalogue))
    if complete:
        drafts += [*_about_presence(record, catalogue, rng), *_about_whole(record)]
    return tuple(_worded(record, draft, rng, n) for n, draft in enumerate(_kept(drafts, limit, rng)))


@dataclass(frozen=True)
class _Draft:
    type: str
    answer: str
    reasoning: tuple[Step, ...]
    findings: tuple[Finding, ...] = ()
    choices: tuple[str, ...] | None = None
    blanks: tuple[tuple[str, str], ...] = ()
    wording: str = ""


def _about_findings(record: Record) -> Iterator[_Draft]:
    labels = [finding.label for finding in record.findings]
    places = [place_text(finding) for finding in record.findings]
    for finding in record.findings:
        name, place = finding_text(finding.label), place_text(finding)
        if len(labels) == 1:
            yield _Draft("what", name, explain(record, finding, f"The finding is {a(name)}."), (finding,))
        elif place and places.count(place) == 1:
            steps = explain(record, finding, f"The finding in {place} is {a(name)}.")
            blanks = (("organ", place.removeprefix("the ")),)
            yield _Draft("what", name, steps, (finding,), blanks=blanks, wording="what_in")
        if labels.count(finding.label) == 1:  # otherwise "the nodule" would not say which
            yield from _about_one(record, finding)
    yield from _larger(record)


def _about_one(record: Record, finding: Finding) -> Iterator[_Draft]:
    name = finding_text(finding.label)
    blanks = (("finding", name),)
    if place := place_text(finding):
        answer = place.removeprefix("the ")
        yield _Draft("organ", answer, explain(record, finding, f"The host organ is {place}."), (finding,), None, blanks)
    if finding.side in ("left", "right"):
        steps = explain(record, finding, f"The side is {finding.side}.")
        yield _Draft("side", finding.side, steps, (finding,), ("left", "right"), blanks)
    if finding.zone:
        steps = explain(record, finding, f"The zone is {finding.zone}.")
        yield _Draft("zone", finding.zone, steps, (finding,), ("upper", "middle", "lower"), blanks)
    for key, value in annotated(finding).items():
        steps = explain(record, finding, f"The {key} is {value}.")
        yield _Draft("attribute", value, steps, (finding,), None, (*blanks, ("attribute", key)))


def _larger(record: Record) -> Iterator[_Draft]:
    if len(record.findings) != 2 or record.findings[0].label == record.findings[1].label:
        return
    first, second = record.findings
    areas = [_area(finding, record) for finding in (first, second)]
    if max(areas) < LARGER_BY * min(areas):
        return
    names = (finding_text(first.label), finding_text(second.label))
    answer = names[areas[1] > areas[0]]
    steps = survey(record, f"The {answer} is the larger one.")
    yield _Draft("which-is-larger", answer, steps, (first, second), names, (("a", names[0]), ("b", names[1])))


def _area(finding: Finding, record: Record) -> float:
    x1, y1, x2, y2 = finding.box_xyxy
    if finding.mask_rle and record.image:
        return float(boxes.decode_rle(finding.mask_rle, (record.image.height, record.image.width)).sum())
    return (x2 - x1) * (y2 - y1)


def _about_presence(record: Record, catalogue: Catalogue, rng: random.Random) -> Iterator[_Draft]:
    """One "no" an image, and one "yes" where it has a finding: at least half of the answers are "no"."""
    present = {finding.label: finding for finding in record.findings}
    absent = [label for label in catalogue.labels if label not in present]
    if present:
        label = rng.choice(sorted(present))
        name, holders = finding_text(label), tuple(f for f in record.findings if f.label == label)
        steps = explain(record, present[label], f"So {a(name)} is present.")
        yield _Draft("is-there", "yes", steps, holders, ("yes", "no"), (("finding", name), ("a_finding", a(name))))
    if absent:
        name = finding_text(rng.choice(absent))
        steps = survey(record, f"So {a(name)} is not present.")
        yield _Draft("is-there", "no", steps, (), ("yes", "no"), (("finding", name), ("a_finding", a(name))))


def _about_whole(record: Record) -> Iterator[_Draft]:
    count = str(len(record.findings))
    yield _Draft("how-many", count, survey(record, f"The number of findings is {count}."), record.findings)
    if not record.findings:
        yield _Draft("what", NO_FINDING, survey(record, f"There is {NO_FINDING}."))


def _about_anatomy(record: Record, rng: random.Random) -> Iterator[_Draft]:
    """A point well inside one organ; the deepest organs are asked for, so that the answer is unique."""
    if record.image is None:
        return
    parents = {organs()[organ.name].parent for organ in record.organs if organ.name in organs()}
    leaves = [organ for organ in record.organs if organ.name not in parents and not _is_lesion(organ.name)]
    if not leaves:
        return
    size_hw = (record.image.height, record.image.width)
    organ = rng.choice(leaves)
    alone = boxes.decode_rle(organ.rle, size_hw)
    for other in leaves:
        if other.name != organ.name:
            alone &= ~boxes.decode_rle(other.rle, size_hw)
    point = _inner_point(alone)
    if point is None:
        return
    row, col = point
    text = organ_text(organ.name)
    blanks = (("across", f"{100 * (col + 0.5) / size_hw[1]:.0f}"), ("down", f"{100 * (row + 0.5) / size_hw[0]:.0f}"))
    found = Step(step="organ", text=f"The point lies in the {text}.", box_xyxy=organ.box_xyxy)
    steps = (view_step(record), found, conclusion_step(f"The organ is the {text}."))
    yield _Draft("which-organ", text, steps, blanks=blanks)


def _is_lesion(organ: str) -> bool:
    """Some segmenters' labels are findings ("left kidney cyst"): no normal anatomy."""
    return any(finding_name(word) for word in organ.split("_"))


def _inner_point(mask: np.ndarray) -> tuple[int, int] | None:
    """(row, col) of the pixel furthest from the mask's edge; None when no pixel is 2 px inside."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return None
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return (int(row), int(col)) if depth[row, col] >= 2 else None


def _view(record: Record, catalogue: Catalogue) -> _Draft:
    text = view_text(record)
    steps = (view_step(record), conclusion_step(f"The image is {a(text)}."))
    return _Draft("view", text, steps, choices=catalogue.views)


def _kept(drafts: list[_Draft], limit: int, rng: random.Random) -> list[_Draft]:
    """At most ``limit`` drafts: one of each type in turn; both is-there answers stay or leave together."""
    groups: dict[str, list[_Draft]] = {}
    for draft in drafts:
        groups.setdefault(draft.type, []).append(draft)
    for group in groups.values():
        rng.shuffle(group)
    queue = [groups[kind] for kind in sorted(groups)]
    rng.shuffle(queue)
    chosen: list[_Draft] = []
    while queue and len(chosen) < limit:
        group = queue.pop(0)
        take = group[:2] if group[0].type == "is-there" else group[:1]
        if len(chosen) + len(take) <= limit:
            chosen += take
            if group[len(take) :]:
                queue.append(group[len(take) :])
    return chosen


def _worded(record: Record, draft: _Draft, rng: random.Random, n: int) -> Question:
    wording = rng.choice(templates()[draft.wording or draft.type])
    return Question(
        id=f"{record.image_id}:q{n}",
        type=draft.type,  # type: ignore[arg-type]
        question=wording.format(**dict(draft.blanks)),
        answer=draft.answer,
        closed=draft.choices is not None,
        choices=draft.choices,
        reasoning=draft.reasoning,
        finding_ids=tuple(finding.id for finding in draft.findings),
    )
