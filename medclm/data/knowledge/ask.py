"""Questions that join what the picture shows with what the base knows: the picture names the fact to look up.

A question says "the abnormality in this image" or "the organ that holds it" and never names what would answer it, so
that the base alone is not enough. It is asked only where every finding of the image leads to the same answer. Where
all findings of a dataset lie in one organ, its system and function can be guessed without the picture; the questions
about the organ at a point cannot.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from medclm.data.anatomy import finding_text, organ_path, organ_text
from medclm.data.knowledge import fact
from medclm.data.knowledge.base import knowledge_base
from medclm.data.knowledge.documents import read_yaml
from medclm.data.knowledge.steps import fact_step, signs
from medclm.data.records import UNCLEAR, Finding, Question, Step

Kind = Literal["system", "function", "neighbour", "home", "differential", "sign", "system_at", "function_at"]
WRONG = 3
"""Wrong answers beside the right one."""


@dataclass(frozen=True)
class KnowledgeQuestion:
    """A question before it is worded.

    Attributes:
        kind: key of :func:`templates`.
        answer: short; one of ``right``.
        right: every answer that the base holds to be right.
        choices: the answers to choose from where the wording names them, else None.
        distractors: wrong answers, for a multiple-choice variant of an open question.
        facts: ids that the answer rests on.
        steps: the facts as reasoning steps.
        findings: those it is about.
        blanks: (name, text) pairs that fill the wording.
    """

    kind: Kind
    answer: str
    right: tuple[str, ...]
    choices: tuple[str, ...] | None
    distractors: tuple[str, ...]
    facts: tuple[str, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    blanks: tuple[tuple[str, str], ...] = ()


@cache
def templates() -> dict[str, list[str]]:
    """The wordings by kind. ``{choices}`` lists the answers to choose from, ``{finding}`` names a finding."""
    return read_yaml(Path(__file__).parent / "templates.yaml")


def knowledge_questions(findings: Sequence[Finding], rng: random.Random) -> list[KnowledgeQuestion]:
    """Every knowledge question about the linked findings of one image; none where the base knows nothing of them."""
    return [_drawn(asked, rng) for asked in _all(findings)]


def questions_at(organ: str, across: str, down: str, rng: random.Random) -> list[KnowledgeQuestion]:
    """The knowledge questions about the organ at a point, which is given in per cent of the picture's width and height.

    Empty where the base does not describe the organ.
    """
    blanks = (("across", across), ("down", down))
    return [_drawn(replace(asked, blanks=blanks), rng) for asked in _at(organ)]


def right_answers(findings: Sequence[Finding], organs: Iterable[str], question: Question) -> set[str]:
    """What the base holds to be right, for a verifier: by the facts that the question's reasoning cites.

    Empty where no question about these findings or these organs of the image rests on just these facts. Questions on
    one fact are told apart by the texts of their blanks, which the wording must contain.
    """
    cited = {fact_id for step in question.reasoning for fact_id in step.facts}
    words = question.question.lower()
    at_points = () if question.finding_ids else (asked for organ in organs for asked in _at(organ))
    return {
        answer
        for asked in (*_all(findings), *at_points)
        if set(asked.facts) == cited and all(text.lower() in words for _, text in asked.blanks)
        for answer in asked.right
    }


@dataclass(frozen=True)
class _Asked:
    kind: Kind
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    facts: tuple[str, ...]
    findings: tuple[Finding, ...]
    blanks: tuple[tuple[str, str], ...] = ()


def _drawn(asked: _Asked, rng: random.Random) -> KnowledgeQuestion:
    answer = rng.choice(asked.right)
    wrong = tuple(sorted(rng.sample(asked.wrong, min(WRONG, len(asked.wrong)))))
    choices: tuple[str, ...] | None = None
    blanks = asked.blanks
    if asked.kind == "sign":
        choices = ("yes", "no")
    elif asked.kind in ("neighbour", "differential"):
        choices = tuple(sorted((answer, *wrong)))
        blanks = (("choices", f"{', '.join(choices[:-1])} or {choices[-1]}"),)
    return KnowledgeQuestion(
        kind=asked.kind,
        answer=answer,
        right=asked.right,
        choices=choices,
        distractors=() if choices else wrong,
        facts=asked.facts,
        steps=tuple(fact_step(fact(fact_id)) for fact_id in asked.facts),
        findings=asked.findings,
        blanks=blanks,
    )


def _all(findings: Sequence[Finding]) -> Iterator[_Asked]:
    if not findings:
        return
    about = tuple(findings)
    hosts = {knowledge_base().organ_key(f.organ) if f.organ and f.organ != UNCLEAR else None for f in findings}
    if len(hosts) == 1 and (host := hosts.pop()) is not None:
        yield from _about_organ(host, about)
    labels = [finding.label for finding in findings]
    if len(set(labels)) == 1:
        yield from _about_label(labels[0], about)
    for finding in findings:
        if labels.count(finding.label) == 1:  # otherwise "the nodule" would not say which
            yield from _about_signs(finding)


def _about_organ(key: str, about: tuple[Finding, ...]) -> Iterator[_Asked]:
    known = knowledge_base()
    organ = known.organs[key]
    if organ.system:
        wrong = tuple(s for s in known.systems if s != organ.system and s not in organ.also)
        yield _Asked("system", (organ.system,), wrong, (f"organ.{key}.system",), about)
    near = {other for other in known.neighbours[key] if not _overlap(organ.organs, known.organs[other].organs)}
    own_systems = {organ.system, *organ.also}
    unlike = [o for o in known.organs.values() if o.system and own_systems.isdisjoint((o.system, *o.also))]
    alike = {known.organs[other].function.answer for other in (key, *known.neighbours[key])}
    wrong = tuple(sorted({o.function.answer for o in unlike if not _overlap(organ.organs, o.organs)} - alike))
    yield _Asked("function", (organ.function.answer,), wrong, (f"organ.{key}.function",), about)
    if near and len(organ.not_neighbours) >= WRONG:
        right, wrong = _words(near), _words(organ.not_neighbours)
        yield _Asked("neighbour", right, wrong, (f"organ.{key}.neighbours",), about)


def _at(organ: str) -> Iterator[_Asked]:
    kinds: dict[Kind, Kind] = {"system": "system_at", "function": "function_at"}
    key = knowledge_base().organ_key(organ)
    for asked in _about_organ(key, ()) if key else ():
        if asked.kind in kinds:
            yield replace(asked, kind=kinds[asked.kind])


def _about_label(label: str, about: tuple[Finding, ...]) -> Iterator[_Asked]:
    document = knowledge_base().findings.get(label)
    if document is None:
        return
    if document.home:
        homes = {f.home for f in knowledge_base().findings.values() if f.home} - set(document.organs)
        wrong = tuple(sorted(organ_text(h) for h in homes if not _overlap((h,), (document.home,))))
        place = (f"finding.{document.key}.place",)
        yield _Asked("home", (organ_text(document.home),), wrong, place, about)
    at = set(document.differential.at)
    fits = not at or all(at & set(finding.organ_path) for finding in about)
    if fits and len(document.not_differential) >= WRONG and document.differential.all:
        facts = (f"finding.{document.key}.differential",)
        yield _Asked("differential", document.differential.all, document.not_differential, facts, about)


def _about_signs(finding: Finding) -> Iterator[_Asked]:
    """A "yes" and a "no" for each sign, so that the two balance."""
    for found, sign, attribute in signs(finding):
        for answer, claim in (("yes", sign.speaks_for), ("no", sign.speaks_against)):
            blanks = (("attribute", attribute), ("finding", finding_text(finding.label)), ("claim", claim))
            wrong = ("no" if answer == "yes" else "yes",)
            yield _Asked("sign", (answer,), wrong, (found.id,), (finding,), blanks)


def _overlap(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether an organ of one group is, or is part of, one of the other: a lobe is no neighbour of its lung."""
    return any(a in organ_path(b) or b in organ_path(a) for a in some for b in others)


def _words(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(key.replace("_", " ") for key in keys))
