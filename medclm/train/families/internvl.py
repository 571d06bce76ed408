"""InternVL (arXiv 2504.10479, the Hugging Face form): the picture is squashed to a square; pixel shuffle joins patches.

The processor can cut a picture into up to twelve tiles by its shape (``crop_to_patches``); that is turned off, so the
tokens are one grid over the whole picture (16 x 16 at 448 pixels).
"""

from __future__ import annotations

from typing import Any

from medclm.train.codecs import BOX_TAGS
from medclm.train.families.base import PROJECTIONS, Family, Frame, SizeHw, fixed, square_side


def _prepare(processor: Any) -> None:
    processor.image_processor.crop_to_patches = False


def _frames(processor: Any) -> Any:
    side = square_side(processor.image_processor.size, "the image processor")
    grid = round(processor.image_seq_length**0.5)
    return fixed(Frame((side, side), (grid, grid)))


def _grid(config: Any) -> SizeHw:
    vision = config.vision_config
    rows, columns = (
        round(extent // patch * config.downsample_ratio)
        for extent, patch in zip(vision.image_size, vision.patch_size, strict=True)
    )
    return rows, columns


INTERNVL = Family(
    name="internvl",
    model_types=("internvl",),
    codec=BOX_TAGS,
    parts={"model.vision_tower": "vision", "model.multi_modal_projector": "projector"},
    lora_targets=rf".*(language_model.*\.{PROJECTIONS}|multi_modal_projector\.linear_[12])",
    blocks=("InternVLVisionLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer", "LlamaDecoderLayer"),
    prepare=_prepare,
    frames=_frames,
    image_grid=_grid,
)
