"""What was set aside and why: one entry per image or finding that did not make it into the dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from medclm.data.records import Question

RejectReason = Literal[
    # readers: the image
    "missing-image",
    "bad-image-entry",
    "duplicate-image",
    # readers: one annotation of it
    "no-image-entry",
    "unknown-category",
    "bad-annotation",
    "bad-box",
    "box-outside",
    "bad-segmentation",
    "duplicate-annotation",
    "crowd",
    "bad-row",
    "no-geometry",
    # decoding
    "unreadable-image",
    "size-mismatch",
    "burned-in-text",
    # later steps
    "segmenter-failed",
    "out-of-memory",
    "row-failed",
    "question-failed",
]
"""The closed set of reasons."""


class Reject(BaseModel):
    """One thing that was set aside.

    Args:
        image_id: the image it belongs to; the raw id of the annotation file where no image is known.
        where: file and place in it, e.g. ``annotations.json: annotations[12]``.
        reason: the code that counts are made of.
        detail: the fault in words.
        finding_id: set when one finding was set aside and not the whole image.
        question: set, with its text and answer, when one question was set aside and not the whole image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str
    where: str
    reason: RejectReason
    detail: str
    finding_id: str | None = None
    question: Question | None = None

    @property
    def whole_image(self) -> bool:
        """Whether the image is lost, not just a finding or a question of it."""
        return self.finding_id is None and self.question is None
