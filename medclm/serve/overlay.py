"""Boxes drawn on a picture, with numbers and words; for ``medclm ask --overlay`` and for reports."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medclm.data.records import BoxXyxy, Step

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw

MIN_SIDE = 512
"""Smaller pictures are enlarged by a whole factor until their longer side has this many pixels."""


def draw_boxes(
    image: PIL.Image.Image, boxes: Sequence[BoxXyxy], labels: Sequence[str] = (), min_side: int = MIN_SIDE
) -> PIL.Image.Image:
    """A copy of the picture with one outlined box each, and its label above it (inside, where there is no room).

    Args:
        image: any mode.
        boxes: in pixels of ``image``, x2 and y2 exclusive.
        labels: one a box, or none at all.
        min_side: see :data:`MIN_SIDE`; 0 keeps the size.

    Returns:
        An RGB picture. Equal boxes are drawn once, with their labels joined by commas.
    """
    from PIL import ImageDraw

    scale = max(1, -(-min_side // max(image.size)))
    shown = image.convert("RGB").resize((image.width * scale, image.height * scale), resample=0)
    names: dict[BoxXyxy, list[str]] = {}
    for index, box in enumerate(boxes):
        names.setdefault(box, []).extend(labels[index : index + 1])
    draw = ImageDraw.Draw(shown)
    for index, (box, words) in enumerate(names.items()):
        _draw_one(draw, tuple(value * scale for value in box), ", ".join(words), color(index), shown.size)
    return shown


def draw_steps(image: PIL.Image.Image, steps: Sequence[Step]) -> PIL.Image.Image:
    """:func:`draw_boxes` for the steps of a rationale that have a box; labels are their numbers, from 1."""
    numbered = [(step.box_xyxy, str(number)) for number, step in enumerate(steps, 1) if step.box_xyxy is not None]
    return draw_boxes(image, [box for box, _ in numbered], [label for _, label in numbered])


def color(index: int) -> tuple[int, int, int]:
    """The colour of the n-th box: bright, and far from its neighbours' hues (steps of the golden angle)."""
    red, green, blue = colorsys.hsv_to_rgb((0.12 + index * 0.381966) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_one(
    draw: PIL.ImageDraw.ImageDraw,
    box: tuple[float, ...],
    label: str,
    rgb: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    """Outline just inside the box: Pillow's corners are inclusive, ours are not."""
    from PIL import ImageFont

    width = max(1, max(size) // 256)
    x1, y1, x2, y2 = (round(value) for value in box)
    draw.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=rgb, width=width)
    if not label:
        return
    font = ImageFont.load_default(max(12, max(size) // 40))
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    pad = 3
    wide, high = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(x1, 0), max(size[0] - wide, 0))
    y = y1 - high if y1 >= high else min(y1 + width, size[1] - high)
    draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=rgb)
    draw.text((x + pad - left, y + pad - top), label, fill=(0, 0, 0), font=font)
