"""Every question held against its record, independently of how it was made.

:func:`check` names the checks that a question passed; a question that fails one is set aside with the reason.
"""

from __future__ import annotations

import re

from medclm.data import anatomy
from medclm.data.questions import NO_FINDING
from medclm.data.rationale import annotated, place_text, view_text
from medclm.data.records import Finding, Question, Record

CHECKS = ("answer", "boxes", "leak", "findings", "sides")


def check(record: Record, question: Question) -> tuple[tuple[str, ...], str | None]:
    """(names of the checks passed, None) for a good question, ((), reason) for one to set aside.

    * answer: the answer equals the record's value for this question type
    * boxes: every evidence box lies inside the picture and is a finding's or an organ's box
    * leak: an open question does not contain its answer
    * findings: the reasoning names no finding that the record does not have, but for one the question asks about
    * sides: the reasoning says no side that neither the findings nor the organs asked about have
    """
    problem = (
        _answer(record, question)
        or _boxes(record, question)
        or _leak(question)
        or _findings(record, question)
        or _sides(record, question)
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
    about = _about(record, question)
    kind = question.type
    if kind == "what":
        return {anatomy.finding_text(f.label) for f in about} if record.findings else {NO_FINDING}
    if kind == "organ":
        return {place_text(f).removeprefix("the ") for f in about}
    if kind == "side":
        return {str(f.side) for f in about}
    if kind == "zone":
        return {str(f.zone) for f in about}
    if kind == "is-there":
        asked = _named(question.question, record)
        return {"yes"} if asked & {f.label for f in record.findings} else {"no"}
    if kind == "how-many":
        return {str(len(record.findings))}
    if kind == "attribute":
        return {value for f in about for value in annotated(f).values()}
    if kind == "which-is-larger":
        return {anatomy.finding_text(f.label) for f in about}
    if kind == "view":
        return {view_text(record)}
    return {anatomy.organ_text(organ.name) for organ in record.organs}


def _boxes(record: Record, question: Question) -> str | None:
    known = {f.box_xyxy for f in record.findings} | {organ.box_xyxy for organ in record.organs}
    for step in question.reasoning:
        if step.box_xyxy is not None and step.box_xyxy not in known:
            return f"boxes: {step.box_xyxy} of step {step.step!r} is no finding's and no organ's box"
    return None


def _leak(question: Question) -> str | None:
    if question.closed:
        return None
    if re.search(rf"\b{re.escape(question.answer.lower())}\b", question.question.lower()) and len(question.answer) > 1:
        return f"leak: the question contains its answer {question.answer!r}"
    return None


def _findings(record: Record, question: Question) -> str | None:
    text = " ".join(step.text for step in question.reasoning)
    for finding in record.findings:  # "calcification absent" is a rating of the nodule, not a finding
        for key, value in annotated(finding).items():
            text = text.replace(f"{key} {value}", "").replace(f"{key} is {value}", "")
    told = _named(text, record)
    foreign = told - {f.label for f in record.findings} - _named(question.question, record)
    return f"findings: the reasoning names {sorted(foreign)}, which the record does not have" if foreign else None


def _sides(record: Record, question: Question) -> str | None:
    about = _about(record, question) or list(record.findings)
    if question.type in ("which-organ", "which-is-larger", "how-many", "is-there") or not about:
        about = list(record.findings)
    if question.type == "which-organ":
        allowed = set(re.findall(r"\b(left|right)\b", question.answer))
    else:
        allowed = {side for f in about for side in (["left", "right"] if f.side == "bilateral" else [f.side])}
    told = set(re.findall(r"\b(left|right)\b", " ".join(step.text for step in question.reasoning)))
    return f"sides: the reasoning says {sorted(told - allowed)}" if told - allowed else None


def _named(text: str, record: Record) -> set[str]:
    """The findings that ``text`` names, singular or plural: of the vocabulary, and of the record's own labels."""
    lower = text.lower()
    labels = {*anatomy.findings(), *(finding.label for finding in record.findings)}
    return {
        label
        for label in labels
        if re.search(rf"\b({re.escape(label.lower())}|{re.escape(anatomy.finding_text(label, 2).lower())})\b", lower)
    }
