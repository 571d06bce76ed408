"""Grounding: do the boxes in the reasoning lie on the finding.

Zero, one and many boxes are legal on both sides. Predicted and reference boxes are paired one to one so that the sum of
IoU is greatest (Hungarian method); a reference box that is left over scores 0. Boxes left over on the predicted side
cost nothing, so the number of boxes per answer is reported beside the scores: a model that writes many is visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclm.data.boxes import iou_xyxy
from medclm.data.records import BoxXyxy, Step
from medclm.eval.stats import bootstrap

HIT_IOU = 0.5
CONTEXT_STEPS = frozenset({"organ", "view"})
"""Steps whose box is not the finding's but its surroundings'."""


@dataclass(frozen=True)
class Grounding:
    """One question: means over its reference boxes, 0 to 1; None when it has none. ``boxes`` were predicted."""

    iou: float | None
    hit: float | None
    pointing: float | None
    boxes: int


def step_boxes(steps: Iterable[Step], ignore: frozenset[str] = frozenset()) -> tuple[BoxXyxy, ...]:
    """The distinct non-empty boxes of the steps in order, but for the steps named in ``ignore``."""
    boxes = (step.box_xyxy for step in steps if step.box_xyxy is not None and step.step not in ignore)
    return tuple(dict.fromkeys(box for box in boxes if box[0] < box[2] and box[1] < box[3]))


def ground(predicted: Sequence[BoxXyxy], reference: Sequence[BoxXyxy]) -> Grounding:
    """Scores of one question.

    Args:
        predicted: boxes of the reasoning, pixels of the image.
        reference: boxes of the question's findings, same pixels.

    Returns:
        Means over the reference boxes of: IoU with the paired box; whether it is at least 0.5; whether the paired
        box's centre lies inside (the pointing game of Zhang et al., IJCV 2018, with the centre as the point).
    """
    from scipy.optimize import linear_sum_assignment

    if not reference:
        return Grounding(None, None, None, len(predicted))
    if not predicted:
        return Grounding(0.0, 0.0, 0.0, 0)
    iou = iou_xyxy(np.asarray(predicted), np.asarray(reference))
    rows, cols = linear_sum_assignment(iou, maximize=True)
    paired = iou[rows, cols]
    inside = [_centre_inside(predicted[row], reference[col]) for row, col in zip(rows, cols, strict=True)]
    n = len(reference)
    return Grounding(float(paired.sum()) / n, int((paired >= HIT_IOU).sum()) / n, sum(inside) / n, len(predicted))


def _centre_inside(box: BoxXyxy, target: BoxXyxy) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return target[0] <= x < target[2] and target[1] <= y < target[3]


def summarise(results: Sequence[Grounding], clusters: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """The grounding of a run.

    Args:
        results: one per question, in any order.
        clusters: the image of each.

    Returns:
        ``mean_iou``, ``acc_50``, ``pointing``: intervals over the questions with a reference box (those without a
        predicted box count as 0); ``questions``: how many those are; ``without_predicted_box``: of these, how many
        had no box that could be read; ``unexpected_boxes``: questions without a reference box whose answer had one;
        ``boxes_per_answer``: mean number of distinct predicted boxes.
    """
    referred = [(r, c) for r, c in zip(results, clusters, strict=True) if r.iou is not None]
    images = [image for _, image in referred]
    return {
        "questions": len(referred),
        "mean_iou": bootstrap([r.iou or 0.0 for r, _ in referred], images, seed).as_dict(),
        "acc_50": bootstrap([r.hit or 0.0 for r, _ in referred], images, seed).as_dict(),
        "pointing": bootstrap([r.pointing or 0.0 for r, _ in referred], images, seed).as_dict(),
        "without_predicted_box": sum(r.boxes == 0 for r, _ in referred),
        "unexpected_boxes": sum(r.boxes > 0 for r in results if r.iou is None),
        "boxes_per_answer": float(np.mean([r.boxes for r in results])) if results else 0.0,
    }
