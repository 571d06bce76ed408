"""The text that the assistant learns, and its inverse.

Reasoning has one line a step, with its box where it has one, and ends with the answer::

    Reasoning:
    seed: There is a nodule in the left lung. [12 30 20 41]
    …
    Answer: left lung
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def target_text(
    steps: list[Step], answer: str, size_hw: tuple[int, int], family: Family
) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """The target text and the character spans of its reasoning and its answer.

    ``Reasoning:`` and, in a text without reasoning, ``Answer:`` are given at inference and belong to no span.
    """
    text, reasoning = "", (0, 0)
    if steps:
        lines = [_line(step, size_hw, family) for step in steps]
        text = REASONING + "\n".join(lines) + "\n" + ANSWER
        reasoning = (len(REASONING), len(text))
    else:
        text = ANSWER
    full = f"{text} {' '.join(answer.split())}"
    return full, reasoning, (len(text), len(full))


def _line(step: Step, size_hw: tuple[int, int], family: Family) -> str:
    text = f"{step.step}: {' '.join(step.text.split())}"
    return text if step.box_xyxy is None else f"{text} {family.box_to_text(step.box_xyxy, size_hw)}"


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
