"""Reasoning steps that cite the base. The text of such a step is its fact's sentence, to the letter."""

from __future__ import annotations

from medclm.data.anatomy import normal_name
from medclm.data.knowledge import fact
from medclm.data.knowledge.base import Fact, knowledge_base
from medclm.data.knowledge.documents import Sign
from medclm.data.records import Finding, Step

STEP = "knowledge"


def fact_step(found: Fact) -> Step:
    return Step(step=STEP, text=found.text, facts=(found.id,))


def definition_step(label: str) -> Step | None:
    """What a finding is; None for a label outside the vocabulary."""
    return _finding_step(label, "definition")


def significance_step(label: str) -> Step | None:
    """What a finding means for the patient; None for a label outside the vocabulary."""
    return _finding_step(label, "significance")


def function_step(organ: str) -> Step | None:
    """What an organ does; None where the base does not describe it."""
    key = knowledge_base().organ_key(organ)
    return fact_step(fact(f"organ.{key}.function")) if key else None


def signs(finding: Finding) -> list[tuple[Fact, Sign, str]]:
    """(fact, sign, attribute) of every sign that the finding's own attributes show, in the order of its file.

    A sign counts by the first of its attributes that has one of its values. Two signs that contradict each other are
    both left out: the one speaks for what the other speaks against.
    """
    document = knowledge_base().findings.get(finding.label)
    if document is None:
        return []
    own = {normal_name(key): value.lower() for key, value in finding.attributes.items()}
    shown = [
        (fact(f"finding.{document.key}.sign.{name}"), sign, attribute)
        for name, sign in document.signs.items()
        if (attribute := next((key for key, values in sign.when.items() if own.get(key) in values), None))
    ]
    refuted = {sign.speaks_against for _, sign, _ in shown}
    return [found for found in shown if found[1].speaks_for not in refuted]


def sign_steps(finding: Finding) -> tuple[Step, ...]:
    """One step for each sign that the finding's attributes show ("A spiculated margin ... speaks for malignancy.")."""
    return tuple(fact_step(found) for found, _, _ in signs(finding))


def knowledge_steps(finding: Finding) -> tuple[Step, ...]:
    """Every step that the base can add to a rationale about one finding: what it is, its signs, its host's function,
    what it means. Empty for a label and a host outside the base."""
    host = function_step(finding.organ) if finding.organ else None
    steps = (definition_step(finding.label), *sign_steps(finding), host, significance_step(finding.label))
    return tuple(step for step in steps if step is not None)


def check_step(step: Step, finding: Finding | None = None) -> str | None:
    """What is wrong with a step that cites facts, or None.

    Every cited id must exist and the text must be the sentences of the cited facts, in their order. A sign must be
    shown by ``finding`` where that is given, and a finding's fact must be of its label.
    """
    known = knowledge_base().facts
    unknown = [fact_id for fact_id in step.facts if fact_id not in known]
    if unknown:
        return f"the step cites unknown facts {unknown}"
    if step.text != " ".join(known[fact_id].text for fact_id in step.facts):
        return f"the step's text is not that of its facts {list(step.facts)}"
    if finding is None:
        return None
    allowed = {found.id for found, _, _ in signs(finding)}
    for fact_id in step.facts:
        kind, subject, *rest = fact_id.split(".")
        document = knowledge_base().findings.get(finding.label)
        if kind == "finding" and (document is None or subject != document.key):
            return f"fact {fact_id!r} is not about {finding.label!r}"
        if rest[0] == "sign" and fact_id not in allowed:
            return f"the finding does not show the sign {fact_id!r}"
    return None


def _finding_step(label: str, stem: str) -> Step | None:
    document = knowledge_base().findings.get(label)
    return fact_step(fact(f"finding.{document.key}.{stem}")) if document else None
