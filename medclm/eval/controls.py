"""Controls: what a score would be without seeing, or without the right image. Every score stands beside them.

* blank: the same questions, the image replaced by a uniform mid-grey one of its size.
* shuffled: the image of another patient in its place.
* text_only: the question with no image at all.
* majority: for each question type the most frequent answer of the *training* split; it never looks at a test answer.
* masked: the regions that the reference names are hidden; elsewhere: regions of the same size beside them are. An
  answer that rests on the evidence changes with the first and not with the second.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from medclm.data.records import BoxXyxy
from medclm.eval.benchmarks import Item

if TYPE_CHECKING:
    import PIL.Image

GREY = 128
"""Value of every pixel of a blank image."""
ANY_TYPE = "*"
"""Key of the majority answer over all types, for a type that training has not seen."""


def blank_image(image: PIL.Image.Image) -> PIL.Image.Image:
    """A uniform mid-grey image of the same size and mode ("L" or "RGB")."""
    import PIL.Image

    return PIL.Image.new(image.mode, image.size, GREY if image.mode == "L" else (GREY,) * len(image.getbands()))


PLACES = 200
"""Draws for the place of a mask that must not touch the evidence."""


def hide(image: PIL.Image.Image, boxes: Sequence[BoxXyxy]) -> PIL.Image.Image:
    """A copy with every box filled with the picture's mean colour: what is there is gone, and no new edge is bright."""
    import PIL.ImageDraw
    import PIL.ImageStat

    copy = image.copy()
    mean = tuple(round(value) for value in PIL.ImageStat.Stat(image).mean)
    draw = PIL.ImageDraw.Draw(copy)
    for x1, y1, x2, y2 in boxes:
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), fill=mean if len(mean) > 1 else mean[0])
    return copy


def elsewhere(boxes: Sequence[BoxXyxy], size_hw: tuple[int, int], rng: random.Random) -> tuple[BoxXyxy, ...]:
    """For each box one of its size in the picture that touches none of ``boxes``; empty where one finds no room."""
    found: list[BoxXyxy] = []
    for x1, y1, x2, y2 in boxes:
        width, height = x2 - x1, y2 - y1
        if width > size_hw[1] or height > size_hw[0]:
            return ()
        for _ in range(PLACES):
            x, y = rng.uniform(0, size_hw[1] - width), rng.uniform(0, size_hw[0] - height)
            if not any(x < b[2] and b[0] < x + width and y < b[3] and b[1] < y + height for b in boxes):
                found.append((x, y, x + width, y + height))
                break
        else:
            return ()
    return tuple(found)


def shuffled_images(items: Sequence[Item], seed: int = 0) -> dict[str, str]:
    """For each image id another image id, of another patient; empty when all items are of one patient.

    All questions of an image get the same other image. Images without a picture are not drawn.
    The result does not depend on the order of the items.
    """
    patients = {item.image_id: item.patient_id for item in items if item.image is not None}
    if len(set(patients.values())) < 2:
        return {}
    names = sorted(patients)
    rng = random.Random(seed)
    chosen = {}
    for name in names:
        other = rng.choice(names)
        while patients[other] == patients[name]:
            other = rng.choice(names)
        chosen[name] = other
    return chosen


def majority_answers(train: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Most frequent answer by question type, and over all types under :data:`ANY_TYPE`.

    Args:
        train: (type, answer) pairs of the training split. Answers that differ in case only are one; of answers
            equally frequent the first in the alphabet is taken.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, answer in train:
        text = answer.strip().lower()
        counts[kind][text] += 1
        counts[ANY_TYPE][text] += 1
    return {kind: min(count, key=lambda text: (-count[text], text)) for kind, count in counts.items()}


def majority_answer(answers: dict[str, str], kind: str) -> str:
    """The answer of the majority control to a question of type ``kind``; empty when training had no answer at all."""
    return answers.get(kind, answers.get(ANY_TYPE, ""))
