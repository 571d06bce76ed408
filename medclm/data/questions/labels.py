"""Questions about an image of which labels are known, but no place: nothing explains the answer, so Hard only."""

from __future__ import annotations

import random
from collections.abc import Iterator

from medclm.data.anatomy import finding_text
from medclm.data.knowledge import not_deniable
from medclm.data.questions.draft import Catalogue, Draft
from medclm.data.questions.presence import YES_NO, finding_blanks, has_labels_only
from medclm.data.records import Record


def about_labels(record: Record, catalogue: Catalogue, rng: random.Random) -> Iterator[Draft]:
    """For an image with labels and no boxed finding: one "yes", one "no", and what it shows where that is one thing.

    "No" is the answer only for labels that the source denies (``labels_absent``), and of these only for those that no
    label of the image includes. Nothing is concluded from a label that is not mentioned, so this may be asked of
    incomplete images too. ``catalogue`` names the labels that are worth asking for: those that some image has.
    """
    if not has_labels_only(record):
        return
    absent = sorted(set(record.labels_absent) & set(catalogue.labels) - not_deniable(record.labels))
    if record.labels:
        name = finding_text(rng.choice(sorted(record.labels)))
        yield Draft("is-there", "yes", choices=YES_NO, blanks=finding_blanks(name))
    if absent:
        name = finding_text(rng.choice(absent))
        yield Draft("is-there", "no", choices=YES_NO, blanks=finding_blanks(name))
    if len(record.labels) == 1:
        wrong = [finding_text(label) for label in absent]
        rng.shuffle(wrong)
        yield Draft("what", finding_text(record.labels[0]), distractors=tuple(wrong))
