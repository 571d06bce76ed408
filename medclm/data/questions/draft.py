"""A question before it is worded: what is asked, the answer and the reasoning; and the wordings it can take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from medclm.data.knowledge import ask
from medclm.data.rationale import view_text
from medclm.data.records import Finding, QuestionType, Record, Step


@dataclass(frozen=True)
class Draft:
    """What a question asks, without its words.

    Attributes:
        type: of the question.
        answer: short; equal to one of ``choices`` where there are any.
        reasoning: steps that lead to the answer; empty where nothing explains it.
        findings: those of the record that the question is about.
        choices: the closed set of answers that the question's own wording implies ("Left or right?"), or None.
        blanks: (name, text) pairs that fill the wording.
        wording: key of :func:`templates`; the type when empty.
        distractors: wrong but plausible answers, for a multiple-choice variant.
    """

    type: QuestionType
    answer: str
    reasoning: tuple[Step, ...] = ()
    findings: tuple[Finding, ...] = ()
    choices: tuple[str, ...] | None = None
    blanks: tuple[tuple[str, str], ...] = ()
    wording: str = ""
    distractors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """What the whole dataset holds: decides which absent findings are asked for and what a wrong answer can be.

    Attributes:
        labels: every finding label that some image has, boxed or image-level, sorted.
        views: every view in words, sorted; with one only, `view` tells nothing.
        body_parts: every body part, sorted; likewise.
        attributes: every value of every annotated attribute: ((key, (value, ...)), ...), sorted.
    """

    labels: tuple[str, ...]
    views: tuple[str, ...]
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    body_parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, records: Iterable[Record]) -> Catalogue:
        """What the given records, as planned and not yet linked, hold in all."""
        labels: set[str] = set()
        views: set[str] = set()
        body_parts: set[str] = set()
        attributes: dict[str, set[str]] = {}
        for record in records:
            labels.update(record.labels)
            body_parts.update({record.body_part} - {""})
            if record.modality and record.plane:
                views.add(view_text(record))
            for finding in record.findings:
                labels.add(finding.label)
                for key, value in finding.attributes.items():
                    attributes.setdefault(key.replace("_", " "), set()).add(value)
        values = tuple((key, tuple(sorted(found))) for key, found in sorted(attributes.items()))
        return cls(tuple(sorted(labels)), tuple(sorted(views)), values, tuple(sorted(body_parts)))

    def values_of(self, attribute: str) -> tuple[str, ...]:
        """The values that the dataset gives an attribute (key in words)."""
        return dict(self.attributes).get(attribute, ())


@cache
def templates() -> dict[str, list[str]]:
    """The wordings by question type or by :attr:`Draft.wording`."""
    document = yaml.safe_load((Path(__file__).parent / "templates.yaml").read_text())
    document |= {f"knowledge_{kind}": wordings for kind, wordings in ask.templates().items()}
    return {key: value for key, value in document.items() if key != "version"}
