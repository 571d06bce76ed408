"""What a rewording model is asked, and how its answer is read. One prompt holds one question with its reasoning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from medclm.data.anatomy import finding_text
from medclm.data.records import Question, Record

Message = dict[str, str]
Messages = list[Message]
KEPT_TYPES = ("body-part", "knowledge", "vqa")
"""Question types that are never reworded: their texts are those of the knowledge base or of another dataset, or name
what the verifier has no facts of."""

SYSTEM = """You reword sentences of a radiology teaching set. Say the same in other words: vary structure and verbs.
Keep every fact exactly: left and right, organs, findings, numbers with their units, zones, comparisons, attributes,
and every negation. Add nothing, drop nothing, do not hedge, do not answer the question. Keep the names of organs,
findings and attributes. A question stays a question with the same answer. Reword each text on its own, in one line.
Reply with one JSON object and nothing else: {"question": "...", "steps": ["...", ...]}; keep the number of steps."""


@dataclass(frozen=True)
class RewordRequest:
    """One text to word again.

    Attributes:
        kind: a question, or a step of its reasoning.
        text: as the template words it.
        context: names of the findings that "it" means.
    """

    kind: Literal["question", "step"]
    text: str
    context: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """The texts of one question that are reworded together.

    Attributes:
        requests: the question first, then the steps at ``step_indices`` of its reasoning.
        tail: the list of options that follows the question and stays as it is.
    """

    requests: tuple[RewordRequest, ...]
    step_indices: tuple[int, ...] = ()
    tail: str = ""


def bundle_of(record: Record, question: Question, with_steps: bool = True) -> Bundle | None:
    """What of a question can be reworded; None for one that stays as it is.

    A step that cites the knowledge base keeps its text, and so does a list of options.
    """
    if question.generator != "template" or question.type in KEPT_TYPES:
        return None
    head, tail = _without_options(question)
    if not head:
        return None
    asked = [f for f in record.findings if f.id in question.finding_ids] or list(record.findings)
    about = tuple(dict.fromkeys(finding_text(finding.label) for finding in asked))
    indices = tuple(n for n, step in enumerate(question.reasoning) if not step.facts) if with_steps else ()
    steps = [RewordRequest("step", question.reasoning[n].text, about) for n in indices]
    return Bundle((RewordRequest("question", head, about), *steps), indices, tail)


def _without_options(question: Question) -> tuple[str, str]:
    """(the question, the sentence after it that lists the choices); ("", "") when the list is inside the question."""
    listed = ", ".join(question.choices or ())
    if not listed or listed not in question.question:
        return question.question, ""
    head = question.question[: question.question.index(listed)]
    end = max(head.rfind("? "), head.rfind(". ")) + 1
    return (question.question[:end], question.question[end:]) if end else ("", "")


def messages_of(bundle: Bundle) -> Messages:
    """The chat that asks for a bundle's rewording."""
    question, *steps = bundle.requests
    asked = {"question": question.text, "steps": [step.text for step in steps]}
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": json.dumps(asked, ensure_ascii=False)},
    ]


def plain_messages(request: RewordRequest) -> Messages:
    """The chat that asks for one text alone, with two examples, for models that cannot keep JSON."""
    shown = [
        {"role": "user", "content": "Rewrite in other words: There is a cyst in the right kidney."},
        {"role": "assistant", "content": "The right kidney contains a cyst."},
        {"role": "user", "content": "Rewrite in other words: Which organ holds the fracture?"},
        {"role": "assistant", "content": "In which organ is the fracture located?"},
    ]
    return [*shown, {"role": "user", "content": f"Rewrite in other words: {request.text}"}]


def read_plain(answer: str) -> str | None:
    """The text of an answer to :func:`plain_messages`: its first line, without quotes; None where there is none."""
    line = next((line for line in answer.splitlines() if line.strip()), "").strip()
    return " ".join(line.strip("\"'").split()) or None


def read_answer(answer: str, count: int) -> list[str] | None:
    """The reworded texts (question first) of a model's answer; None when it is not what was asked for.

    The first JSON object that has a question and ``count - 1`` steps is taken, whatever stands around it.
    """
    decoder = json.JSONDecoder()
    at = answer.find("{")
    while at >= 0:
        try:
            found, _ = decoder.raw_decode(answer, at)
        except json.JSONDecodeError:
            found = None
        if (texts := _texts(found, count)) is not None:
            return texts
        at = answer.find("{", at + 1)
    return None


def _texts(found: Any, count: int) -> list[str] | None:
    if not isinstance(found, dict):
        return None
    steps = found.get("steps") or []
    if not isinstance(steps, list) or len(steps) != count - 1:
        return None
    texts = [found.get("question"), *steps]
    return [" ".join(text.split()) for text in texts] if all(isinstance(text, str) for text in texts) else None
