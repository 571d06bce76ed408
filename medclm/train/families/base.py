"""What differs between families of vision-language models: one :class:`Family` each, bound to a processor."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from medclm.data.records import BoxXyxy
from medclm.errors import MedclmError
from medclm.train.codecs import BoxCodec

Part = Literal["vision", "projector", "language"]
SizeHw = tuple[int, int]
PROJECTIONS = r"(q|k|v|o|gate|up|down)_proj"
_WRAPPERS = re.compile(r"^base_model\.model\.|\b(_checkpoint_wrapped_module|_orig_mod|_fsdp_wrapped_module)\.")


@dataclass(frozen=True)
class Frame:
    """What a prepared processor makes of one picture.

    Attributes:
        frame_hw: the resized picture in pixels. Nothing is cropped or padded.
        grid_hw: (rows, columns) of the image tokens that cover it, in reading order.
        skip: how many of the picture's image tokens come before that grid (class and register tokens).
    """

    frame_hw: SizeHw
    grid_hw: SizeHw
    skip: int = 0


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        name: the table's key, written to ``medclm.json``.
        model_types: values of ``config.model_type`` that belong to it.
        codec: how it writes boxes.
        parts: module name prefixes of the vision tower and the projector; the longest that fits decides, and all else
            is the language model's.
        lora_targets: regular expression over whole module names that LoRA wraps.
        blocks: class names of the modules that FSDP shards one by one.
        prepare: sets the processor up for one view of the whole picture, in place.
        frames: for a prepared processor, the function from a picture's size to its :class:`Frame`.
        image_grid: (rows, columns) of image tokens for a model config; None where it depends on the picture.
        process: (processor, PIL picture) to what its image processor makes of it.
        image_text: (processor, that) to the text that stands for the picture.
        image_token: the text of one image token, as the model knows it.
        tensors: names of what the image processor returns that the model takes.
        more_inputs: (image_mask (B, L) bool, prompt (B, L) bool) to further inputs (B, L) of the model. ``prompt`` is
            True up to the first token that is learnt.
        chat: (processor, number of pictures, question, answer) to the whole conversation with one
            ``processor.image_token`` a picture; None: the processor's chat template.
        frame_of: of a bound family: the size of a picture to its frame.
        frame_size: side of the frame of a large square picture, in pixels; 0 until :func:`bind`.
    """

    name: str
    model_types: tuple[str, ...]
    codec: BoxCodec
    parts: dict[str, Part]
    lora_targets: str
    blocks: tuple[str, ...]
    prepare: Callable[[Any], None]
    frames: Callable[[Any], Callable[[SizeHw], Frame]]
    image_grid: Callable[[Any], SizeHw | None]
    process: Callable[[Any, Any], Any] = field(
        default=lambda processor, picture: processor.image_processor([[picture]], return_tensors="pt")
    )
    image_text: Callable[[Any, Any], str] = field(
        default=lambda processor, found: processor.replace_image_token(found, 0)
    )
    image_token: Callable[[Any], str] = field(default=lambda processor: processor.image_token)
    tensors: tuple[str, ...] = ("pixel_values",)
    more_inputs: Callable[[Any, Any], dict[str, Any]] = field(default=lambda image_mask, prompt: {})
    chat: Callable[[Any, int, str, str], str] | None = None
    frame_of: Callable[[SizeHw], Frame] | None = None
    frame_size: int = 0

    @property
    def box_format(self) -> str:
        """What the box text means, for ``medclm.json`` and people."""
        return self.codec.says

    def frame_hw(self, size_hw: SizeHw) -> SizeHw:
        """What a picture of ``size_hw`` is resized to."""
        return self.frame_of(size_hw).frame_hw if self.frame_of else (self.frame_size, self.frame_size)

    def box_to_text(self, box_xyxy: BoxXyxy, size_hw: SizeHw) -> str:
        """The box as the family writes it, in its own units, rounded so that a side never vanishes."""
        return self.codec.write(box_xyxy, size_hw, self.frame_hw(size_hw))

    def text_to_boxes(self, text: str, size_hw: SizeHw) -> list[BoxXyxy]:
        """Every box written in ``text``, in pixels of the picture. Empty and reversed boxes are left out."""
        return self.codec.read(text, size_hw, self.frame_hw(size_hw))

    def without_boxes(self, text: str) -> str:
        """``text`` with the box texts taken out."""
        return self.codec.without(text)

    def part_of(self, name: str) -> Part:
        """The part of the model that a parameter or module belongs to; ``name`` may carry PEFT's prefix."""
        plain = _WRAPPERS.sub("", name)
        fitting = [prefix for prefix in self.parts if plain == prefix or plain.startswith(f"{prefix}.")]
        return self.parts[max(fitting, key=len)] if fitting else "language"


def bind(family: Family, processor: Any) -> Family:
    """``family`` with the frames of ``processor``, which is set up for one view of the picture, in place."""
    family.prepare(processor)
    frame_of = family.frames(processor)
    return replace(family, frame_of=frame_of, frame_size=max(frame_of((4096, 4096)).frame_hw))


def fixed(frame: Frame) -> Callable[[SizeHw], Frame]:
    """The frame function of a processor that makes the same of every picture."""
    return lambda size_hw: frame


def square_side(size: Any, where: str) -> int:
    """The side of an image processor's ``size`` or ``crop_size``.

    Raises:
        MedclmError: the processor's size is no square.
    """
    sides = {int(size[name]) for name in ("height", "width", "shortest_edge", "longest_edge") if _has(size, name)}
    if len(sides) != 1:
        raise MedclmError(
            "the processor does not resize to a square",
            where=where,
            got=str(size),
            expected="equal height and width",
            remedy="set them alike in preprocessor_config.json",
        )
    return sides.pop()


def _has(size: Any, name: str) -> bool:
    value = size.get(name) if hasattr(size, "get") else getattr(size, name, None)
    return value is not None
