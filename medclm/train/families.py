"""What differs between families of vision-language models: image tokens, box text, LoRA targets, sharded blocks.

One row of a table per family. A :class:`Family` is bound to a processor (:func:`bind`), which fixes the size of the
square frame that a picture is resized to; only then can it write and read boxes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from medclm.data.records import BoxXyxy
from medclm.errors import MedclmError

_BOX = re.compile(r"\[(\d+) (\d+) (\d+) (\d+)\]")


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        name: the table's key, written to ``medclm.json``.
        model_types: values of ``config.model_type`` that belong to it.
        lora_targets: regular expression over module names that LoRA wraps.
        vision: dotted name of the vision tower in the model.
        blocks: class names of the modules that FSDP shards one by one.
        box_format: what the box text means, for ``medclm.json`` and people.
        prepare: sets the processor up for one view of the whole picture, in place.
        frame: the side in pixels of the square that a prepared processor makes of a picture.
        image_text: what one picture becomes in the text, for a prepared processor.
        image_grid: (rows, columns) of image tokens for a model config.
        frame_size: side of the square frame in pixels; 0 until :func:`bind`.
    """

    name: str
    model_types: tuple[str, ...]
    lora_targets: str
    vision: str
    blocks: tuple[str, ...]
    box_format: str
    prepare: Callable[[Any], None]
    frame: Callable[[Any], int]
    image_text: Callable[[Any], str]
    image_grid: Callable[[Any], tuple[int, int]]
    frame_size: int = 0

    def box_to_text(self, box_xyxy: BoxXyxy, size_hw: tuple[int, int]) -> str:
        """``[x1 y1 x2 y2]``: whole pixels of the square frame, rounded so that a side never vanishes."""
        (x1, x2), (y1, y2) = (
            _whole(low * self.frame_size / extent, high * self.frame_size / extent, self.frame_size)
            for low, high, extent in (
                (box_xyxy[0], box_xyxy[2], size_hw[1]),
                (box_xyxy[1], box_xyxy[3], size_hw[0]),
            )
        )
        return f"[{x1} {y1} {x2} {y2}]"

    def text_to_boxes(self, text: str, size_hw: tuple[int, int]) -> list[BoxXyxy]:
        """Every box written in ``text``, in pixels of the picture. Empty and reversed boxes are left out."""
        boxes = []
        for match in _BOX.finditer(text):
            x1, y1, x2, y2 = (min(int(group), self.frame_size) for group in match.groups())
            if x1 < x2 and y1 < y2:
                sx, sy = size_hw[1] / self.frame_size, size_hw[0] / self.frame_size
                boxes.append((x1 * sx, y1 * sy, x2 * sx, y2 * sy))
        return boxes

    def without_boxes(self, text: str) -> str:
        """``text`` with the box texts taken out."""
        return " ".join(_BOX.sub(" ", text).split())


def _whole(low: float, high: float, limit: int) -> tuple[int, int]:
    a, b = max(round(low), 0), min(round(high), limit)
    if a < b:
        return a, b
    a = min(math.floor(low), limit - 1)
    return a, a + 1


def _one_view(processor: Any) -> None:
    processor.image_processor.do_image_splitting = False


def _idefics3_image_text(processor: Any) -> str:
    fake = processor.fake_image_token
    image = getattr(processor.image_token, "content", processor.image_token)
    start = getattr(processor, "global_image_token", None) or processor.global_image_tag
    return f"{fake}{start}{image * processor.image_seq_len}{fake}"


def _idefics3_grid(config: Any) -> tuple[int, int]:
    side = config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor
    return side, side


FAMILIES: dict[str, Family] = {
    "idefics3": Family(
        name="idefics3",
        model_types=("smolvlm", "idefics3"),
        lora_targets=r".*(text_model.*\.(q|k|v|o|gate|up|down)_proj|connector\.modality_projection\.proj)",
        vision="model.vision_model",
        blocks=("SmolVLMEncoderLayer", "Idefics3EncoderLayer", "LlamaDecoderLayer"),
        box_format="[x1 y1 x2 y2] in whole pixels of the picture resized to the square frame",
        prepare=_one_view,
        frame=lambda processor: int(processor.image_processor.max_image_size["longest_edge"]),
        image_text=_idefics3_image_text,
        image_grid=_idefics3_grid,
    ),
}
"""The families that work, by name (METHOD section 7)."""


def family_of(model_type: str) -> Family:
    """The family of a ``config.model_type``, not yet bound.

    Raises:
        MedclmError: the family is unknown; the message lists the known ones.
    """
    for family in FAMILIES.values():
        if model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES.values() for name in family.model_types)
    raise MedclmError(
        "this kind of base model is not supported", got=model_type, expected=f"one of: {known}", remedy="choose another"
    )


def bind(family: Family, processor: Any) -> Family:
    """``family`` with the frame size of ``processor``, which is set up for one view of the picture, in place."""
    family.prepare(processor)
    return replace(family, frame_size=family.frame(processor))
