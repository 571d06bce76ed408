"""Questions about change between an earlier image of the patient and this one (``Record.prior``).

A finding is compared where each image has at most one of its name. It is larger from 20 % more diameter on, smaller
from 30 % less on (the limits of progression and response in RECIST 1.1, Eisenhauer et al., Eur J Cancer 2009).
"""

from __future__ import annotations

from collections.abc import Iterator

from medclm.data.anatomy import finding_text
from medclm.data.questions.draft import Draft
from medclm.data.rationale import a, conclusion_step, seed_step, view_step
from medclm.data.records import Finding, Record, Step

LARGER, SMALLER = 1.2, 0.7
CHANGES = ("larger", "smaller", "unchanged", "new", "resolved")


def about_change(record: Record) -> Iterator[Draft]:
    """One draft a finding name that either image has; nothing without a prior, or for slices (no registration)."""
    if record.prior is None or record.plane == "axial":
        return
    names = [f.label for f in (*record.findings, *record.prior.findings)]
    for label in dict.fromkeys(names):
        now = [f for f in record.findings if f.label == label]
        before = [f for f in record.prior.findings if f.label == label]
        if len(now) > 1 or len(before) > 1:
            continue
        change = change_of(before[0] if before else None, now[0] if now else None)
        if change is None:
            continue
        name = finding_text(label)
        steps = (view_step(record), *(map(seed_step, now)), _prior_step(label, before), conclusion_step(_says(change)))
        yield Draft("follow-up", change, steps, tuple(now), CHANGES, (("finding", name),))


def change_of(before: Finding | None, now: Finding | None) -> str | None:
    """One of :data:`CHANGES`; None where both are there and a size in millimetres is missing."""
    if before is None or now is None:
        return "new" if now is not None else "resolved"
    if before.size_mm is None or now.size_mm is None:
        return None
    ratio = now.size_mm / before.size_mm
    return "larger" if ratio >= LARGER else "smaller" if ratio <= SMALLER else "unchanged"


def _prior_step(label: str, before: list[Finding]) -> Step:
    """What the earlier image showed. Its boxes are of another picture, so none is given."""
    name = finding_text(label)
    if not before:
        return Step(step="prior", text=f"The earlier image shows no {name}.")
    size = before[0].size_mm
    return Step(step="prior", text=f"The earlier image shows {a(name)}{f' of {size:.0f} mm' if size else ''}.")


def _says(change: str) -> str:
    return {"new": "So it is new.", "resolved": "So it has resolved."}.get(change, f"So it is {change}.")
