"""Controls: what a score would be without seeing, or without the right image. Every score stands beside them.

* blank: the same questions, the image replaced by a uniform mid-grey one of its size.
* shuffled: the image of another patient in its place.
* majority: for each question type the most frequent answer of the *training* split; it never looks at a test answer.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

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
