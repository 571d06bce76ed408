"""Tiny records with values that can be checked by hand."""

from __future__ import annotations

import numpy as np

from medclm.data import anatomy, boxes, images
from medclm.data.records import Finding, Image, Organ, Record, Source, Spacing

SIZE_HW = (20, 20)
LEFT_LUNG = (11, 2, 18, 14)
RIGHT_LUNG = (2, 2, 9, 14)
"""Frontal display: the patient's left is on the picture's right."""


def mask_of(box_xyxy, size_hw=SIZE_HW) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    x1, y1, x2, y2 = box_xyxy
    mask[y1:y2, x1:x2] = True
    return mask


def organ(name: str, side: str | None, box_xyxy) -> Organ:
    mask = mask_of(box_xyxy)
    return Organ(
        name=name, side=side, box_xyxy=box_xyxy, area_px=int(mask.sum()), rle=boxes.encode_rle(mask), source="masks"
    )


def finding(label="nodule", box_xyxy=(12.0, 3.0, 15.0, 6.0), n=1, **more) -> Finding:
    return Finding(id=f"img:{n}", label=label, label_raw=label, box_xyxy=box_xyxy, **more)


def linked_nodule(**more) -> Finding:
    """A 3 x 3 px nodule in the left lung, upper zone."""
    known = {
        "organ": "left_lung",
        "organ_path": anatomy.organ_path(more.get("organ", "left_lung")),
        "side": "left",
        "zone": "upper",
        "coverage": 1.0,
        "size_mm": 3.0,
        "attributes": {"margin": "smooth", "contrast": "brighter", "share_of_organ": "11 %", "shape": "round"},
    }
    return finding(**{**known, **more})


def record(findings=(), image_id="img", patient_id="p1", split="train", **more) -> Record:
    values = (np.arange(400) % 256).astype(np.uint8).reshape(SIZE_HW)
    known = {
        "modality": "DX",
        "plane": "frontal",
        "view": "PA",
        "spacing_mm": Spacing(row=1.0, col=1.0),
        "organs": (organ("left_lung", "left", LEFT_LUNG), organ("right_lung", "right", RIGHT_LUNG)),
    }
    return Record(
        image_id=image_id,
        patient_id=patient_id,
        dataset="toy",
        split=split,
        image=Image(bytes=images.encode_png(values), format="png", width=20, height=20),
        source=Source(uri="toy.png", reader="coco"),
        findings=tuple(findings),
        **{**known, **more},
    )
