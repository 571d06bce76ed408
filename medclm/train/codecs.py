"""How families of models write a box in text, and read it back.

A codec knows two things: its *unit* (what one of its numbers means for a picture) and its *form* (the characters around
the numbers). Pictures are resized without cropping or padding, so a box keeps its shares of width and height in the
frame, and only conventions that count pixels need the frame's size.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from medclm.data.records import BoxXyxy

Unit = Literal["pixel", "thousandth", "share", "location"]
STEPS: dict[Unit, int] = {"pixel": 0, "thousandth": 1000, "share": 1000, "location": 1024}
"""In how many equal steps a side is divided; 0: in the frame's pixels."""
LAST_LOCATION = 1023


@dataclass(frozen=True)
class BoxCodec:
    """One convention.

    Attributes:
        unit: ``pixel`` of the resized picture, ``thousandth`` (0 to 1000), ``share`` (0 to 1, three decimals) or
            ``location`` (1/1024 of a side, 0 to 1023).
        form: a format string over ``{x1} {y1} {x2} {y2}``.
        pattern: regular expression that finds a box, with groups of those four names. Lenient: a special token that
            decoding leaves out may be missing.
        says: what the text means, for people and ``medclm.json``.
    """

    unit: Unit
    form: str
    pattern: re.Pattern[str]
    says: str

    def write(self, box_xyxy: BoxXyxy, size_hw: tuple[int, int], frame_hw: tuple[int, int]) -> str:
        """The box in text, rounded so that a side never vanishes."""
        numbers = {}
        for axis, low, high in (("x", 0, 2), ("y", 1, 3)):
            side = 1 if axis == "x" else 0
            steps = STEPS[self.unit] or frame_hw[side]
            last = LAST_LOCATION if self.unit == "location" else steps
            a, b = _whole(box_xyxy[low] * steps / size_hw[side], box_xyxy[high] * steps / size_hw[side], last)
            numbers[f"{axis}1"], numbers[f"{axis}2"] = self._text(a), self._text(b)
        return self.form.format(**numbers)

    def _text(self, step: int) -> str:
        if self.unit == "share":
            return f"{step / STEPS['share']:.3f}"
        return f"{step:04d}" if self.unit == "location" else str(step)

    def read(self, text: str, size_hw: tuple[int, int], frame_hw: tuple[int, int]) -> list[BoxXyxy]:
        """Every box in ``text``, in pixels of the picture. Empty and reversed boxes are left out."""
        boxes = []
        for match in self.pattern.finditer(text):
            x1, y1, x2, y2 = (
                self._share(match[name], frame_hw[side]) for name, side in (("x1", 1), ("y1", 0), ("x2", 1), ("y2", 0))
            )
            if x1 < x2 and y1 < y2:
                boxes.append((x1 * size_hw[1], y1 * size_hw[0], x2 * size_hw[1], y2 * size_hw[0]))
        return boxes

    def _share(self, number: str, extent: int) -> float:
        whole = 1 if self.unit == "share" else STEPS[self.unit] or extent
        return min(float(number) / whole, 1.0)

    def without(self, text: str) -> str:
        """``text`` with the boxes taken out."""
        return " ".join(self.pattern.sub(" ", text).split())


def _whole(low: float, high: float, limit: int) -> tuple[int, int]:
    a, b = max(round(low), 0), min(round(high), limit)
    if a < b:
        return a, b
    a = max(min(math.floor(low), limit - 1), 0)
    return a, a + 1


def _pattern(number: str, before: str, between: str, after: str, order: str = "x1 y1 x2 y2") -> re.Pattern[str]:
    return re.compile(before + between.join(f"(?P<{name}>{number})" for name in order.split()) + after)


SPACED = BoxCodec(
    "pixel", "[{x1} {y1} {x2} {y2}]", _pattern(r"\d+", r"\[", " ", r"\]"),
    "[x1 y1 x2 y2] in whole pixels of the picture resized to the frame",
)  # fmt: skip
"""Ours, for families that were taught none (SmolVLM, Idefics3): four numbers and three spaces, few tokens."""

SHARES = BoxCodec(
    "share", "[{x1}, {y1}, {x2}, {y2}]", _pattern(r"\d+(?:\.\d+)?", r"\[", r", ?", r"\]"),
    "[x1, y1, x2, y2] as shares of width and height, 0 to 1, three decimals",
)  # fmt: skip
"""LLaVA-1.5's (arXiv 2310.03744: its RefCOCO and Visual Genome rows; shares of the picture). It writes two decimals;
three (Shikra, arXiv 2306.15195) keep a box within a pixel of a frame of 336."""

BBOX_PIXELS = BoxCodec(
    "pixel", '{{"bbox_2d": [{x1}, {y1}, {x2}, {y2}]}}',
    _pattern(r"\d+", r'(?:\{ ?"bbox_2d": ?)?\[', ", ?", r"\]\}?"),
    '{"bbox_2d": [x1, y1, x2, y2]} in whole pixels of the resized picture',
)  # fmt: skip
"""Qwen2.5-VL's (its cookbook ``spatial_understanding``; QwenLM/Qwen3-VL issues 721 and 866: pixels of the picture as
``smart_resize`` makes it)."""

BBOX_THOUSANDTHS = BoxCodec(
    "thousandth", BBOX_PIXELS.form, BBOX_PIXELS.pattern,
    '{"bbox_2d": [x1, y1, x2, y2]} in thousandths of width and height',
)  # fmt: skip
"""Qwen3-VL's (its README: relative coordinates from 0 to 1000; issue 1741)."""

BOX_TOKENS = BoxCodec(
    "thousandth", "<|box_start|>({x1},{y1}),({x2},{y2})<|box_end|>",
    re.compile(r"(?:<\|box_start\|>)?\((?P<x1>\d+), ?(?P<y1>\d+)\), ?\((?P<x2>\d+), ?(?P<y2>\d+)\)(?:<\|box_end\|>)?"),
    "<|box_start|>(x1,y1),(x2,y2)<|box_end|> in thousandths of width and height",
)  # fmt: skip
"""Qwen2-VL's (arXiv 2409.12191, section 2.2)."""

BOX_TAGS = BoxCodec(
    "thousandth", "<box>[[{x1}, {y1}, {x2}, {y2}]]</box>",
    _pattern(r"\d+", r"(?:<box>)? ?\[\[", ", ?", r"\]\](?:</box>)?"),
    "<box>[[x1, y1, x2, y2]]</box> in thousandths of width and height",
)  # fmt: skip
"""InternVL's (its documentation of chat data, "grounding / detection data": 0 to 1000, rounded)."""

BOX_2D = BoxCodec(
    "thousandth", '{{"box_2d": [{y1}, {x1}, {y2}, {x2}]}}',
    _pattern(r"\d+", r'(?:\{ ?"box_2d": ?)?\[', ", ?", r"\]\}?", "y1 x1 y2 x2"),
    '{"box_2d": [y1, x1, y2, x2]} in thousandths of height and width',
)  # fmt: skip
"""Gemini's and MedGemma's: y first, 0 to 1000. Plain Gemma 3 was documented with none (arXiv 2503.19786; discussion 38
of google/gemma-3-4b-it points to Gemini's)."""

LOCATIONS = BoxCodec(
    "location", "<loc{y1}><loc{x1}><loc{y2}><loc{x2}>",
    re.compile(r" ?".join(rf"<loc(?P<{name}>\d{{4}})>" for name in ("y1", "x1", "y2", "x2"))),
    "<locY1><locX1><locY2><locX2>, 1/1024 of height and width, four digits",
)  # fmt: skip
"""PaliGemma's (arXiv 2407.07726, section 3.2.5: one of 1,024 bins of the normalised coordinate, y before x)."""
