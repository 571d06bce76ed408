"""Reading what a foreign model wrote: its answer, and the boxes in its text."""

from __future__ import annotations

import re
from typing import Any, Literal

from medclm.data.records import BoxXyxy, Step
from medclm.serve.predictor import Prediction

BoxUnits = Literal["pixels", "thousand", "unit"]
"""``pixels`` of the picture as sent, 0 to 1000 of each side, or 0 to 1 of each side."""
_NUMBER = r"\s{0,3}(-?\d{1,9}(?:\.\d{1,9})?)\s{0,3}"
_BOX = re.compile(rf"[\[(]{_NUMBER}[, ]{_NUMBER}[, ]{_NUMBER}[, ]{_NUMBER}[\])]")
_ANSWER = re.compile(r"(?:final\s+)?answer\s*(?:is)?\s*[:：]\s*", re.IGNORECASE)
MAX_BOXES = 64
"""Boxes read from one text; what follows is not read."""


def read_text(text: str, own: Any, size_hw: tuple[int, int], units: BoxUnits = "pixels") -> Prediction:
    """A chat reply as a prediction.

    Args:
        text: the assistant's turn.
        own: the ``medclm`` part of a reply of ours, with answer and steps as data; else None.
        size_hw: of the picture that was sent.
        units: of the boxes in ``text``.

    Returns:
        The answer is what follows the last "Answer:", with markdown signs and a final full stop taken off, else the
        whole text. Each box of the text becomes a step without a name.
    """
    if isinstance(own, dict) and isinstance(own.get("answer"), str):
        found = [step for step in own.get("steps") or () if isinstance(step, dict)]
        steps = tuple(
            Step(step=str(s.get("step", "")), text=str(s.get("text", "")), box_xyxy=_box_of(s)) for s in found
        )
        return Prediction(
            text, own["answer"], float(own.get("confidence") or 0.0), steps, bool(own.get("parsed", True))
        )
    marks = list(_ANSWER.finditer(text))
    answer = text[marks[-1].end() :] if marks else text
    answer = " ".join(answer.replace("**", "").split()).removesuffix(".")
    boxes = text_boxes(text, size_hw, units)
    steps = tuple(Step(step="", text="", box_xyxy=box) for box in boxes)
    if marks and (reasoning := " ".join(text[: marks[-1].start()].split())):
        steps = (Step(step="reasoning", text=reasoning), *steps)
    return Prediction(text, answer, 0.0, steps, bool(answer))


def text_boxes(text: str, size_hw: tuple[int, int], units: BoxUnits = "pixels") -> list[BoxXyxy]:
    """Boxes written as four numbers in brackets, ``[x1, y1, x2, y2]``, in pixels, clipped to the picture.

    Boxes that are empty or reversed are left out.
    """
    height, width = size_hw
    sx, sy = {"pixels": (1.0, 1.0), "thousand": (width / 1000, height / 1000), "unit": (width, height)}[units]
    boxes: list[BoxXyxy] = []
    for match in _BOX.finditer(text):
        x1, y1, x2, y2 = (float(number) for number in match.groups())
        box = (max(0.0, x1 * sx), max(0.0, y1 * sy), min(float(width), x2 * sx), min(float(height), y2 * sy))
        if box[0] < box[2] and box[1] < box[3] and box not in boxes:
            boxes.append(box)
    return boxes[:MAX_BOXES]


def _box_of(step: dict[str, Any]) -> BoxXyxy | None:
    box = step.get("box_xyxy")
    return tuple(float(value) for value in box) if isinstance(box, list) and len(box) == 4 else None  # type: ignore[return-value]
