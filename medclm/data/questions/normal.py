"""Questions about normal anatomy and the picture itself: which organ is here, is that organ normal, which view.

A model that is trained on abnormal regions only sees lesions everywhere (METHOD section 1).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from medclm.data import boxes
from medclm.data.anatomy import organ_text
from medclm.data.questions.draft import Catalogue, Draft
from medclm.data.questions.presence import YES_NO, leaves
from medclm.data.rationale import a, conclusion_step, explain, organ_step_of, view_step, view_text
from medclm.data.records import UNCLEAR, Organ, Record, Step

NORMAL_SHARE = 0.25
"""How often an image without findings is asked whether an organ is normal."""


def about_anatomy(record: Record, rng: random.Random) -> Iterator[Draft]:
    """A point well inside one organ; the deepest organs are asked for, so that the answer is unique."""
    organs = leaves(record)
    if record.image is None or not organs:
        return
    size_hw = (record.image.height, record.image.width)
    organ = rng.choice(organs)
    alone = boxes.decode_rle(organ.rle, size_hw)
    for other in organs:
        if other.name != organ.name and boxes.iou_xyxy(other.box_xyxy, organ.box_xyxy)[0, 0] > 0:
            alone &= ~boxes.decode_rle(other.rle, size_hw)
    point = inner_point(alone)
    if point is None:
        return
    row, col = point
    text = organ_text(organ.name)
    blanks = (("across", f"{100 * (col + 0.5) / size_hw[1]:.0f}"), ("down", f"{100 * (row + 0.5) / size_hw[0]:.0f}"))
    found = Step(step="organ", text=f"The point lies in the {text}.", box_xyxy=organ.box_xyxy)
    steps = (view_step(record), found, conclusion_step(f"The organ is the {text}."))
    wrong = tuple(organ_text(other.name) for other in organs if other.name != organ.name)
    yield Draft("which-organ", text, steps, blanks=blanks, distractors=wrong)


def inner_point(mask: np.ndarray) -> tuple[int, int] | None:
    """(row, col) of the pixel furthest from the mask's edge; None when no pixel is 2 px inside."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return None
    left, top, right, bottom = (int(v) for v in boxes.box_from_mask(mask))
    depth = distance_transform_edt(np.pad(mask[top:bottom, left:right], 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return (top + int(row), left + int(col)) if depth[row, col] >= 2 else None


def about_normality(record: Record, rng: random.Random) -> Iterator[Draft]:
    """One organ that holds a finding and one that none touches; only where every finding of the image is linked.

    An image without findings is asked in one case of four, so that "yes" is not the answer that always fits.
    """
    if any(finding.organ in (None, UNCLEAR) for finding in record.findings) or record.labels:
        return
    organs = leaves(record)
    ill = [organ for organ in organs if any(f.organ == organ.name for f in record.findings)]
    well = [organ for organ in organs if _is_untouched(organ, record)]
    if ill:
        organ = rng.choice(ill)
        holder = next(f for f in record.findings if f.organ == organ.name)
        text = organ_text(organ.name)
        steps = explain(record, holder, f"So the {text} is not normal.")
        yield Draft("is-normal", "no", steps, (holder,), YES_NO, (("organ", text),))
    if well and (ill or rng.random() < NORMAL_SHARE):
        organ = rng.choice(well)
        text = organ_text(organ.name)
        steps = (view_step(record), organ_step_of(organ), conclusion_step(f"No finding lies in the {text}."))
        yield Draft("is-normal", "yes", steps, (), YES_NO, (("organ", text),))


def _is_untouched(organ: Organ, record: Record) -> bool:
    """No finding's box meets the organ's box, and none is linked to it or to what it is part of."""
    if any(organ.name in finding.organ_path for finding in record.findings):
        return False
    x1, y1, x2, y2 = organ.box_xyxy
    return all(
        f.box_xyxy[2] <= x1 or f.box_xyxy[0] >= x2 or f.box_xyxy[3] <= y1 or f.box_xyxy[1] >= y2
        for f in record.findings
    )


def about_view(record: Record, catalogue: Catalogue) -> Iterator[Draft]:
    """Modality and view, where both are known and the dataset has more than one."""
    if len(catalogue.views) < 2 or not (record.modality and record.plane):
        return
    text = view_text(record)
    steps = (view_step(record), conclusion_step(f"The image is {a(text)}."))
    yield Draft("view", text, steps, choices=catalogue.views)


def about_body_part(record: Record, catalogue: Catalogue) -> Iterator[Draft]:
    """The part of the body, where it is known and the dataset has more than one."""
    if len(catalogue.body_parts) < 2 or not record.body_part:
        return
    text = record.body_part
    wrong = tuple(other for other in catalogue.body_parts if other != text)
    yield Draft("body-part", text, (conclusion_step(f"The image shows the {text}."),), distractors=wrong)
