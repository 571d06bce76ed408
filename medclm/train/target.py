"""The text that the assistant learns, and its inverse.

Reasoning has one line a step, with its box where it has one, and ends with the answer::

    Reasoning:
    seed: There is a nodule in the left lung. [12 30 20 41]
    …
    Answer: left lung
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from medclm.data.records import Question, Step

if TYPE_CHECKING:
    from medclm.train.families import Family

REASONING = "Reasoning:\n"
ANSWER = "Answer:"


@dataclass(frozen=True)
class Parsed:
    """What a generated text says. ``ok``: it has an answer, and the reasoning, where there is one, has lines."""

    answer: str
    steps: tuple[Step, ...]
    ok: bool


class TargetText(NamedTuple):
    """A target text and character ranges [start, end) of it.

    Attributes:
        text: the assistant's turn.
        reasoning: what is learnt of the reasoning, (0, 0) where there is none.
        answer: the answer, the space before it included.
        boxes: the boxes that stand in the reasoning, in order.
    """

    text: str
    reasoning: tuple[int, int]
    answer: tuple[int, int]
    boxes: tuple[tuple[int, int], ...]


def target_text(steps: list[Step], answer: str, size_hw: tuple[int, int], family: Family) -> TargetText:
    """The target text of these steps and this answer.

    ``Reasoning:`` and, in a text without reasoning, ``Answer:`` are given at inference and belong to no range.
    """
    text, reasoning, boxes = REASONING if steps else ANSWER, (0, 0), []
    for step in steps:
        text += f"{step.step}: {' '.join(step.text.split())}"
        if step.box_xyxy is not None:
            box = family.box_to_text(step.box_xyxy, size_hw)
            boxes.append((len(text) + 1, len(text) + 1 + len(box)))
            text += f" {box}"
        text += "\n"
    if steps:
        text += ANSWER
        reasoning = (len(REASONING), len(text))
    full = f"{text} {' '.join(answer.split())}"
    return TargetText(full, reasoning, (len(text), len(full)), tuple(boxes))


def training_text(question: Question) -> str:
    """Everything of a question that a tokenizer should know, without boxes."""
    lines = [f"{step.step}: {step.text}" for step in question.reasoning]
    return "\n".join([question.question, REASONING.strip(), *lines, f"{ANSWER} {question.answer}"])


def parse_answer(text: str, size_hw: tuple[int, int], family: Family) -> Parsed:
    """Read a target text back: the inverse of :func:`target_text`, and lenient with what a model writes.

    Args:
        text: the assistant's turn, forced prefix included.
        size_hw: of the picture, for the boxes.
        family: bound family.

    Returns:
        The answer (empty where there is none), the steps in order (boxes in pixels of the picture; of several boxes in
        one line the first), and whether the text kept to the form.
    """
    head, mark, tail = text.rpartition(ANSWER)
    if not mark:
        head, tail = text, ""
    answer, lines = " ".join(tail.split()), _lines(head)
    steps = tuple(parse_line(line, size_hw, family) for line in lines)
    clean = all(":" in line for line in lines) and bool(lines or REASONING.strip() not in text)
    return Parsed(answer=answer, steps=steps, ok=bool(mark and answer) and clean)


def parse_line(line: str, size_hw: tuple[int, int], family: Family) -> Step:
    """One line of the reasoning as a step; arguments and boxes as in :func:`parse_answer`. Without a colon the step has
    no name."""
    name, colon, words = line.partition(":")
    boxes = family.text_to_boxes(line, size_hw)
    return Step(
        step=name.strip() if colon else "",
        text=family.without_boxes(words if colon else line),
        box_xyxy=boxes[0] if boxes else None,
    )


class StepReader:
    """Finds the steps of a text that arrives in pieces, each as soon as its line has ended.

    All that it has found is, at any time, the beginning of the steps that :func:`parse_answer` finds in the whole text.
    A line that holds ``Answer:`` is none, nor is any line after it: only the end of the text tells what they are.

    Args:
        size_hw, family: as in :func:`parse_answer`.
    """

    def __init__(self, size_hw: tuple[int, int], family: Family) -> None:
        self.size_hw, self.family = size_hw, family
        self._text, self._found = "", 0

    def add(self, piece: str) -> list[Step]:
        """The steps whose lines end in this piece; the first piece begins with the forced prefix."""
        self._text += piece
        if "\n" not in piece:
            return []
        head = self._text.partition(ANSWER)[0]
        new = _lines(head[: head.rfind("\n") + 1])[self._found :]
        self._found += len(new)
        return [parse_line(line, self.size_hw, self.family) for line in new]


def _lines(head: str) -> list[str]:
    """The lines of reasoning in the text before an answer; blank ones are left out."""
    reasoning = head.partition(REASONING.strip())[2]
    return [line.strip() for line in reasoning.splitlines() if line.strip()]
