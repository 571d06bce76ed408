"""Questions about presence and absence: is it there, is it there in that organ, how many, nothing at all.

At least half of the yes/no answers are "no", so that a model cannot learn to say yes (METHOD section 1).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from medclm.data import anatomy
from medclm.data.anatomy import finding_text, organ_text
from medclm.data.knowledge import not_deniable
from medclm.data.questions.draft import Catalogue, Draft
from medclm.data.rationale import a, place_text, survey
from medclm.data.records import UNCLEAR, Organ, Record

NO_FINDING = "no abnormality"
YES_NO = ("yes", "no")
MOST_COUNTED = 9
"""Distractors of a count are up to this number."""


def about_presence(record: Record, catalogue: Catalogue, rng: random.Random) -> Iterator[Draft]:
    """One "no" an image, and one "yes" where it has a finding; likewise for a finding in an organ.

    Nothing for an image of which labels are all that is known.
    """
    if has_labels_only(record):
        return
    present = {finding.label: finding for finding in record.findings}
    known = not_deniable({*present, *record.labels})
    absent = [label for label in catalogue.labels if label not in known]
    if present:
        label = rng.choice(sorted(present))
        name, holders = finding_text(label), tuple(f for f in record.findings if f.label == label)
        steps = survey(record, f"So {a(name)} is present.")
        yield Draft("is-there", "yes", steps, holders, YES_NO, finding_blanks(name))
    if absent:
        name = finding_text(rng.choice(absent))
        steps = survey(record, f"So {a(name)} is not present.")
        yield Draft("is-there", "no", steps, (), YES_NO, finding_blanks(name))
    yield from _in_organ(record, rng)


def _in_organ(record: Record, rng: random.Random) -> Iterator[Draft]:
    """The right finding in the right organ, and the same finding in an organ that does not hold it."""
    linked = [f for f in record.findings if f.organ not in (None, UNCLEAR) and f.side != "bilateral"]
    if not linked or any(f.organ in (None, UNCLEAR) for f in record.findings):
        return
    finding = rng.choice(linked)
    name, same = finding_text(finding.label), [f for f in record.findings if f.label == finding.label]
    free = [organ.name for organ in leaves(record) if not any(_touches(organ.name, f.organ_path) for f in same)]
    free = [organ for organ in free if anatomy.is_admissible(finding.label, organ)]
    if not free:
        return
    steps = survey(record, f"So the {organ_text(finding.organ or '')} holds {a(name)}.")
    blanks = (*finding_blanks(name), ("organ", place_text(finding).removeprefix("the ")))
    yield Draft("is-there", "yes", steps, (finding,), YES_NO, blanks, wording="is-there_in")
    other = organ_text(rng.choice(free))
    steps = survey(record, f"So the {other} holds no {name}.")
    yield Draft("is-there", "no", steps, (), YES_NO, (*finding_blanks(name), ("organ", other)), wording="is-there_in")


def leaves(record: Record) -> list[Organ]:
    """The organs of an image that are no parent of another one and no lesion by name ("left kidney cyst")."""
    parents = {anatomy.organs()[organ.name].parent for organ in record.organs if organ.name in anatomy.organs()}
    return [organ for organ in record.organs if organ.name not in parents and not _is_lesion(organ.name)]


def _is_lesion(organ: str) -> bool:
    return bool({"cyst", "tumor", "nodule", "lesion"} & set(organ.split("_")))


def _touches(organ: str, path: tuple[str, ...]) -> bool:
    """Whether one of the two lies in the other: the finding may then be in the organ as well."""
    own = anatomy.organ_path(organ) if organ in anatomy.organs() else (organ,)
    return organ in path or (bool(path) and path[-1] in own)


def has_labels_only(record: Record) -> bool:
    """Whether all that is known of the image are labels without a place: :mod:`medclm.data.questions.labels`."""
    return not record.findings and bool(record.labels or record.labels_absent)


def finding_blanks(name: str) -> tuple[tuple[str, str], ...]:
    """What fills the wordings that name a finding, ``name`` in words."""
    return (("finding", name), ("a_finding", a(name)))


def about_whole(record: Record) -> Iterator[Draft]:
    """The count, and "nothing" for an image without findings."""
    n = len(record.findings)
    wrong = tuple(str(m) for m in sorted(range(MOST_COUNTED + 1), key=lambda m: (abs(m - n), m)) if m != n)
    steps = survey(record, f"The number of findings is {n}.")
    yield Draft("how-many", str(n), steps, record.findings, distractors=wrong)
    if not record.findings:
        yield Draft("what", NO_FINDING, survey(record, f"There is {NO_FINDING}."))
