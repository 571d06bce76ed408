"""Faithfulness of the reasoning: are its steps true of the record, and does the answer follow from them.

Both tests are deterministic and read texts by the lexicon of :mod:`medclm.data.rewrite`. They are strict about what
they do not understand, so each number stands beside its ceiling: the same test on the reference's own reasoning.
Whether the answer *depends* on the evidence is another test: see the masked pictures of :mod:`medclm.eval.controls`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medclm.data.rewrite.compare import same_facts
from medclm.data.rewrite.facts import Fact, facts_of
from medclm.data.verify import check
from medclm.eval.scorers import words

if TYPE_CHECKING:
    from medclm.data.records import Question, Record, Step

CONTRADICTIONS = ("findings", "sides", "knowledge")
"""Checks of :func:`medclm.data.verify.check` that a sentence can fail by itself."""


@dataclass(frozen=True)
class Verdict:
    """How many of the steps were judged and how many are true, and what the first false one says."""

    true: int
    judged: int
    fault: str = ""


def steps_true(record: Record, question: Question, steps: Sequence[Step]) -> Verdict:
    """Holds every step with words against the record.

    A step is true when it states the facts of the reference step of its name, or when everything that it states is
    stated by the reference reasoning of some question about this image and the record's own checks (findings and sides
    that the image does not have, knowledge that is cited wrongly) pass.
    """
    told = [step for step in steps if step.text.strip()]
    reference = {step.step: step.text for step in question.reasoning}
    known = _known_facts(record)
    faults = [fault for step in told if (fault := _fault(record, question, step, reference, known))]
    return Verdict(len(told) - len(faults), len(told), faults[0] if faults else "")


def _known_facts(record: Record) -> set[Fact]:
    """Everything that the reasoning of this image's questions states."""
    texts = {step.text for question in record.questions for step in question.reasoning}
    return {fact for text in texts for fact in (*facts_of(text).stated, *facts_of(text).free)}


def _fault(record: Record, question: Question, step: Step, reference: dict[str, str], known: set[Fact]) -> str:
    """What is wrong with a step, or ""."""
    if step.step in reference and same_facts(reference[step.step], step.text) is None:
        return ""
    alone = question.model_copy(update={"reasoning": (step.model_copy(update={"box_xyxy": None, "facts": ()}),)})
    _, problem = check(record, alone)
    if problem and problem.partition(":")[0] in CONTRADICTIONS:
        return problem
    added = facts_of(step.text).stated - known
    if added:
        return f"facts: {step.step or 'a step'} says {' '.join(part for part in min(added) if part)!r}"
    return ""


def follows(question: str, steps: Sequence[Step], answer: str) -> bool | None:
    """Whether the answer is in the steps; None when there is no reasoning or no answer to judge.

    Yes and no: some finding or organ of the question is affirmed (yes) or none is and something is denied (no). Other
    answers: every word of the answer is among the words of the steps. A necessary condition, read word by word.
    """
    text = " ".join(step.text for step in steps)
    said = words(answer)
    if not text.strip() or not said:
        return None
    if said[0] in ("yes", "no"):
        return _polarity(question, [step.text for step in steps]) == said[0]
    return set(said) <= set(words(text))


def _polarity(question: str, texts: Sequence[str]) -> str:
    """ "yes" or "no" as the sentences have it about what the question names; "" where they say neither."""
    asked = {fact[1] for fact in facts_of(question).stated if fact[0] == "finding"}
    affirmed = denied = False
    for text in texts:
        facts = facts_of(text)
        for fact in facts.stated | facts.free:
            if fact[0] == "finding" and (not asked or fact[1] in asked):
                affirmed, denied = affirmed or fact[2] == "+", denied or fact[2] == "-"
        denied = denied or "-" in facts.abnormal
    return "yes" if affirmed else "no" if denied else ""
