"""Every question held against its record, independently of how it was made.

:func:`check` names the checks that a question passed; a question that fails one is set aside with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from medclm.data import anatomy
from medclm.data.knowledge.ask import right_answers
from medclm.data.knowledge.steps import STEP, check_step
from medclm.data.questions import NO_FINDING
from medclm.data.questions.follow_up import change_of
from medclm.data.questions.lesions import direction_of, direction_text
from medclm.data.rationale import annotated, place_text, size_text, view_text
from medclm.data.records import Finding, Question, Record

_SIDE = re.compile(r"\b(left|right)\b")
CHECKS = ("answer", "boxes", "leak", "findings", "sides", "knowledge")


def check(record: Record, question: Question) -> tuple[tuple[str, ...], str | None]:
    """(names of the checks passed, None) for a good question, ((), reason) for one to set aside.

    * answer: the answer equals the record's value for this question type
    * boxes: every evidence box lies inside the picture and is a finding's or an organ's box
    * leak: an open question does not contain its answer
    * findings: the reasoning names no finding that the record does not have, but for one the question asks about
    * sides: the reasoning says no side that neither the findings nor the organs asked about have
    * knowledge: a step that cites facts says just what they say, and they are about the finding
    """
    problem = (
        _answer(record, question)
        or _boxes(record, question)
        or _leak(question)
        or _findings(record, question)
        or _sides(record, question)
        or _knowledge(record, question)
    )
    return ((), problem) if problem else (CHECKS, None)


def _about(record: Record, question: Question) -> list[Finding]:
    return [finding for finding in record.findings if finding.id in question.finding_ids]


def _answer(record: Record, question: Question) -> str | None:
    right = _right_answers(record, question)
    if question.answer not in right:
        return f"answer: {question.answer!r} is not among {sorted(right)} by the record"
    if question.choices is not None and question.answer not in question.choices:
        return f"answer: {question.answer!r} is not among the choices {question.choices}"
    return None


def _right_answers(record: Record, question: Question) -> set[str]:
    return _RIGHT[question.type](record, question, _about(record, question))


def _what(record: Record, question: Question, about: list[Finding]) -> set[str]:
    if record.findings:
        return {anatomy.finding_text(f.label) for f in about}
    return {anatomy.finding_text(label) for label in record.labels} or {NO_FINDING}


def _is_there(record: Record, question: Question, about: list[Finding]) -> set[str]:
    """By label, and by host organ where the question names one. Of labels without a place, by what they say alone."""
    asked, organ = _named(question.question, record), _organ_named(question.question, record)
    if not record.findings and (record.labels or record.labels_absent):
        known = {"yes": record.labels, "no": record.labels_absent}
        return {answer for answer, labels in known.items() if asked & set(labels)}
    if organ is None:
        there = bool(asked & {*record.labels, *(f.label for f in record.findings)})
    else:
        there = any(f.label in asked and organ in f.organ_path for f in record.findings)
    return {"yes" if there else "no"}


def _is_normal(record: Record, question: Question, about: list[Finding]) -> set[str]:
    organ = _organ_named(question.question, record)
    if organ is None:
        return set()
    return {"no" if any(organ in f.organ_path for f in record.findings) else "yes"}


def _relation(record: Record, question: Question, about: list[Finding]) -> set[str]:
    """``finding_ids`` are (what is asked about, what it is seen from)."""
    first, second = sorted(about, key=lambda finding: question.finding_ids.index(finding.id))
    if question.answer in ("yes", "no"):
        return {"yes" if first.organ == second.organ else "no"}
    direction = direction_of(first, second, record.plane)
    return {direction_text(direction)} if direction else set()


def _change(record: Record, question: Question, about: list[Finding]) -> set[str]:
    asked = _named(question.question, record)
    before = [f for f in (record.prior.findings if record.prior else ()) if f.label in asked]
    now = [f for f in record.findings if f.label in asked]
    return {str(change_of(before[0] if before else None, now[0] if now else None))}


_RIGHT: dict[str, Callable[[Record, Question, list[Finding]], set[str]]] = {
    "what": _what,
    "organ": lambda record, question, about: {place_text(f).removeprefix("the ") for f in about},
    "side": lambda record, question, about: {str(f.side) for f in about},
    "zone": lambda record, question, about: {str(f.zone) for f in about},
    "size": lambda record, question, about: {size_text(f) for f in about},
    "is-there": _is_there,
    "is-normal": _is_normal,
    "how-many": lambda record, question, about: {str(len(record.findings))},
    "attribute": lambda record, question, about: {value for f in about for value in annotated(f).values()},
    "which-is-larger": lambda record, question, about: {anatomy.finding_text(f.label) for f in about},
    "relation": _relation,
    "follow-up": _change,
    "view": lambda record, question, about: {view_text(record)},
    "body-part": lambda record, question, about: {record.body_part} - {""},
    "which-organ": lambda record, question, about: {anatomy.organ_text(organ.name) for organ in record.organs},
    "knowledge": lambda record, question, about: right_answers(
        record.findings, [o.name for o in record.organs], question
    ),
    "vqa": lambda record, question, about: {question.answer} - {""},
}
"""Question type to the answers that the record allows."""


def _boxes(record: Record, question: Question) -> str | None:
    known = {f.box_xyxy for f in record.findings} | {organ.box_xyxy for organ in record.organs}
    for step in question.reasoning:
        if step.box_xyxy is not None and step.box_xyxy not in known:
            return f"boxes: {step.box_xyxy} of step {step.step!r} is no finding's and no organ's box"
    return None


def _leak(question: Question) -> str | None:
    if question.closed or question.type == "vqa":  # published ones offer their answers too: "left or right?"
        return None
    if re.search(rf"\b{re.escape(question.answer.lower())}\b", question.question.lower()) and len(question.answer) > 1:
        return f"leak: the question contains its answer {question.answer!r}"
    return None


def _findings(record: Record, question: Question) -> str | None:
    text = _observed(question)
    for finding in record.findings:  # "calcification absent" is a rating of the nodule, not a finding
        for key, value in annotated(finding).items():
            text = text.replace(f"{key} {value}", "").replace(f"{key} is {value}", "")
    told = _named(text, record)
    asked = " ".join((question.question, *(question.choices or ())))
    foreign = told - {*record.labels, *(f.label for f in record.findings)} - _named(asked, record)
    if question.type == "knowledge":
        foreign -= _named(question.answer, record)
    return f"findings: the reasoning names {sorted(foreign)}, which the record does not have" if foreign else None


def _sides(record: Record, question: Question) -> str | None:
    about = _about(record, question) or list(record.findings)
    if question.type in ("which-is-larger", "relation", "how-many", "is-there", "is-normal"):
        about = list(record.findings)
    allowed = {side for f in about for side in (["left", "right"] if f.side == "bilateral" else [f.side])}
    if question.type == "which-organ":
        allowed = set(_SIDE.findall(question.answer))
    elif question.type in ("is-there", "is-normal"):
        allowed |= set(_SIDE.findall(question.question))
    elif question.type == "relation":
        allowed |= set(_SIDE.findall(question.answer))
    elif question.type == "knowledge":
        allowed |= {organ.side for organ in record.organs}
    told = set(_SIDE.findall(_observed(question)))
    return f"sides: the reasoning says {sorted(told - allowed)}" if told - allowed else None


def _knowledge(record: Record, question: Question) -> str | None:
    about = _about(record, question)
    one = about[0] if len(about) == 1 else None
    faults = (check_step(step, one) for step in question.reasoning if step.facts or step.step == STEP)
    return next((f"knowledge: {fault}" for fault in faults if fault), None)


def _observed(question: Question) -> str:
    """What the reasoning says of this picture: every step but those that quote the knowledge base."""
    return " ".join(step.text for step in question.reasoning if step.step != STEP)


def _named(text: str, record: Record) -> set[str]:
    """The findings that ``text`` names, singular or plural: of the vocabulary, and of the record's own labels."""
    before = record.prior.findings if record.prior else ()
    own = (finding.label for finding in (*record.findings, *before))
    return anatomy.findings_named(text, [*record.labels, *record.labels_absent, *own])


def _organ_named(text: str, record: Record) -> str | None:
    """The record's organ that ``text`` names, the longest name first ("left lung" before "lungs")."""
    lower = text.lower()
    names = sorted({organ.name for organ in record.organs}, key=lambda name: (-len(name), name))
    return next((n for n in names if re.search(rf"\b{re.escape(anatomy.organ_text(n).lower())}\b", lower)), None)
