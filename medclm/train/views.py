"""The three training views of one question.

A view is data: which pictures, which boxes to draw on them, which text to learn (:mod:`medclm.train.target`). Pixels
are made by :func:`pixels` only when they are needed.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medclm.data.anatomy import finding_text
from medclm.data.records import TWO_PICTURES, BoxXyxy, Finding, Image, Question, Record
from medclm.errors import MedclmError
from medclm.train.target import ANSWER, REASONING, Parsed, parse_answer, target_text, training_text

if TYPE_CHECKING:
    import numpy as np

    from medclm.train.families import Family

__all__ = [
    "ANSWER", "BOX_COLOR", "REASONING", "STAGES", "Example", "Parsed", "Shown", "Stage", "domain_of", "elsewhere",
    "evidence_boxes", "has_pictures", "make_view", "parse_answer", "pictures_of", "pixels", "target_text",
    "training_text",
]  # fmt: skip

Stage = Literal["easy", "medium", "hard"]
STAGES: tuple[Stage, ...] = ("easy", "medium", "hard")
BOX_COLOR = (255, 48, 48)
"""RGB of a drawn box: no grey-scale picture contains it."""


@dataclass(frozen=True)
class Shown:
    """One picture of an example.

    Attributes:
        image_id: names the picture.
        image: the encoded picture.
        drawn: boxes to draw on it, pixels of this picture.
        loc_boxes: where on it attention should go, pixels of this picture; empty where nothing is known.
    """

    image_id: str
    image: Image
    drawn: tuple[BoxXyxy, ...] = ()
    loc_boxes: tuple[BoxXyxy, ...] = ()


@dataclass(frozen=True)
class Example:
    """One view of one question.

    Attributes:
        key: ``image id/question id/stage``, for messages.
        image: the encoded picture.
        drawn: boxes to draw on the picture, pixels of the picture.
        question: the user's turn.
        target: the assistant's turn.
        reasoning_span, answer_span: character ranges of ``target`` [start, end); the reasoning's is empty in Hard.
        loc_boxes: where attention should go, pixels of the picture; empty where nothing is known.
        loc_lines: the same for each line of the reasoning that has a region of its own; empty for the others, which
            look at ``loc_boxes``.
        domain: ``finding/modality`` (METHOD section 3).
        type: the question's type.
        earlier: pictures shown before this one, oldest first.
    """

    key: str
    image_id: str
    image: Image
    drawn: tuple[BoxXyxy, ...]
    question: str
    target: str
    reasoning_span: tuple[int, int]
    answer_span: tuple[int, int]
    loc_boxes: tuple[BoxXyxy, ...]
    domain: str
    stage: Stage
    type: str
    answer: str
    earlier: tuple[Shown, ...] = ()
    loc_lines: tuple[tuple[BoxXyxy, ...], ...] = ()

    @property
    def images(self) -> tuple[Shown, ...]:
        """All pictures in the order in which they are shown; the last is the one that the question is about."""
        return (*self.earlier, Shown(self.image_id, self.image, self.drawn, self.loc_boxes))


def make_view(
    record: Record,
    question: Question,
    stage: Stage,
    family: Family,
    steps: tuple[str, ...] = (),
    localize: Literal["true", "random"] | None = "true",
    by_line: bool = True,
) -> Example:
    """One view of one question.

    Args:
        record: an image with its picture.
        question: one of the record's questions.
        stage: ``easy`` draws the boxes of the question's findings, ``medium`` leaves the picture untouched, ``hard``
            learns the answer only. A question without reasoning is always ``hard``.
        family: bound family; writes the boxes.
        steps: names of the reasoning steps to keep, in the record's order; a question with none of them keeps all.
        localize: where attention is supervised in this view: at the boxes, at boxes of the same size elsewhere (an
            ablation), or nowhere.
        by_line: a line of the reasoning with a box of its own looks at that box, not at all boxes of the question.
    """
    if record.image is None or not has_pictures(record, question):
        raise MedclmError(
            "a row without a picture cannot be trained on",
            where=f"{record.image_id}, question {question.id}",
            expected="the image" + (" and its prior image" if question.type in TWO_PICTURES else ""),
            remedy="build the dataset again: `medclm build` writes pictures into its rows",
        )
    kept = [step for step in question.reasoning if step.step in steps] or list(question.reasoning)
    stage = stage if kept else "hard"
    lesions, evidence = evidence_boxes(record, question)
    size_hw = (record.image.height, record.image.width)
    target, reasoning_span, answer_span = target_text([] if stage == "hard" else kept, question.answer, size_hw, family)
    look = localize if stage != "hard" else None
    where = f"{record.image_id}/{question.id}"
    earlier = _earlier(record, question, stage == "easy", look)
    lines = kept if by_line and look and not earlier else []
    return Example(
        key=f"{record.image_id}/{question.id}/{stage}",
        image_id=record.image_id,
        image=record.image,
        drawn=lesions if stage == "easy" else (),
        question=question.question,
        target=target,
        reasoning_span=reasoning_span,
        answer_span=answer_span,
        loc_boxes=_supervised(evidence, size_hw, look, where),
        domain=domain_of(record, question),
        stage=stage,
        type=question.type,
        answer=question.answer,
        earlier=earlier,
        loc_lines=tuple(_supervised((line.box_xyxy,) if line.box_xyxy else (), size_hw, look, where) for line in lines),
    )


def has_pictures(record: Record, question: Question) -> bool:
    """Whether the record holds every picture that the question is asked of."""
    if question.type not in TWO_PICTURES:
        return record.image is not None
    return record.image is not None and record.prior is not None and record.prior.image is not None


def pictures_of(record: Record, question: Question) -> list[np.ndarray]:
    """The question's pictures as inference shows them, nothing drawn, oldest first: (H, W, 3) uint8 each."""
    if record.image is None or not has_pictures(record, question):
        raise MedclmError("the question lacks a picture", where=f"{record.image_id}, question {question.id}")
    before = [record.prior.image] if question.type in TWO_PICTURES and record.prior else []
    return [pixels(image) for image in (*before, record.image) if image is not None]


def _before(record: Record, question: Question) -> list[Finding]:
    """The prior image's findings that a question about change is about, by label, or by name where none is left now."""
    if question.type not in TWO_PICTURES or record.prior is None:
        return []
    labels = {finding.label for finding in record.findings if finding.id in question.finding_ids}
    if labels:
        return [finding for finding in record.prior.findings if finding.label in labels]
    return [f for f in record.prior.findings if finding_text(f.label).lower() in question.question.lower()]


def _earlier(
    record: Record, question: Question, draw: bool, look: Literal["true", "random"] | None
) -> tuple[Shown, ...]:
    """The picture shown before the record's own: a question about change has one."""
    if question.type not in TWO_PICTURES or record.prior is None or record.prior.image is None:
        return ()
    image, boxes = record.prior.image, tuple(finding.box_xyxy for finding in _before(record, question))
    supervised = _supervised(boxes, (image.height, image.width), look, f"{record.prior.image_id}/{question.id}")
    return (Shown(record.prior.image_id, image, boxes if draw else (), supervised),)


def _supervised(
    boxes: tuple[BoxXyxy, ...], size_hw: tuple[int, int], look: Literal["true", "random"] | None, key: str
) -> tuple[BoxXyxy, ...]:
    """Where attention should go: the boxes, boxes of their size elsewhere, or nowhere."""
    if look == "random":
        return tuple(elsewhere(box, size_hw, f"{key}/{box}") for box in boxes)
    return boxes if look else ()


def domain_of(record: Record, question: Question) -> str:
    """The schedule's domain of a question: ``finding/modality``, with ``none`` where it is about no finding."""
    labelled = [finding for finding in record.findings if finding.id in question.finding_ids]
    labelled = labelled or _before(record, question)
    return record.domain(labelled[0]) if labelled else f"none/{record.modality or 'unknown'}"


def elsewhere(box_xyxy: BoxXyxy, size_hw: tuple[int, int], key: str) -> BoxXyxy:
    """A box of the same size at a place drawn by ``key``, inside the picture."""
    rng = random.Random(key)
    wide, high = box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]
    x, y = rng.uniform(0, max(0.0, size_hw[1] - wide)), rng.uniform(0, max(0.0, size_hw[0] - high))
    return x, y, x + wide, y + high


def evidence_boxes(record: Record, question: Question) -> tuple[tuple[BoxXyxy, ...], tuple[BoxXyxy, ...]]:
    """(lesion boxes, all boxes) that the question rests on.

    The lesions are the question's findings and those that its reasoning looks at: a yes/no question is answered from
    all that is seen, and a drawn box must not give the answer away. All boxes are the lesions or, where there are none
    (normal anatomy), the regions of the reasoning.
    """
    regions = tuple(dict.fromkeys(step.box_xyxy for step in question.reasoning if step.box_xyxy is not None))
    lesions = tuple(
        finding.box_xyxy
        for finding in record.findings
        if finding.id in question.finding_ids or finding.box_xyxy in regions
    )
    return lesions, lesions or regions


def pixels(image: Image, drawn: tuple[BoxXyxy, ...] = (), frame_size: int = 0) -> np.ndarray:
    """The picture with boxes drawn, decoded.

    Args:
        image: the encoded picture.
        drawn: boxes in pixels of the picture, drawn just outside their edges where there is room.
        frame_size: side of the square that the processor resizes to; the line is 1 to 2 pixels wide there.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    import numpy as np
    import PIL.Image
    from PIL import ImageDraw

    picture = PIL.Image.open(io.BytesIO(image.bytes)).convert("RGB")
    if drawn:
        width = max(1, round(1.2 * max(picture.size) / frame_size)) if frame_size else 1
        draw = ImageDraw.Draw(picture)
        for x1, y1, x2, y2 in drawn:
            draw.rectangle((x1 - width, y1 - width, x2 + width - 1, y2 + width - 1), outline=BOX_COLOR, width=width)
    return np.asarray(picture)
