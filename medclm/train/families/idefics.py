"""Idefics3 and SmolVLM: the picture is squashed to a square; pixel shuffle joins patches to image tokens.

The processor can also cut a large picture into tiles; that is turned off, so the tokens are one grid over the whole
picture. These models were taught no box text (their cards name none): :data:`~medclm.train.codecs.SPACED`.
"""

from __future__ import annotations

from typing import Any

from medclm.train.codecs import SPACED
from medclm.train.families.base import PROJECTIONS, Family, Frame, SizeHw, fixed


def _prepare(processor: Any) -> None:
    processor.image_processor.do_image_splitting = False


def _frames(processor: Any) -> Any:
    side = int(processor.image_processor.max_image_size["longest_edge"])
    grid = round(processor.image_seq_len**0.5)
    return fixed(Frame((side, side), (grid, grid)))


def _grid(config: Any) -> SizeHw:
    side = config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor
    return side, side


def _image_text(processor: Any, found: Any) -> str:
    """Written here, because the image processor leaves the rows and columns of tiles out of what it returns."""
    fake = processor.fake_image_token
    start = getattr(processor, "global_image_token", None) or processor.global_image_tag
    return f"{fake}{start}{processor.image_token * processor.image_seq_len}{fake}"


IDEFICS3 = Family(
    name="idefics3",
    model_types=("smolvlm", "idefics3"),
    codec=SPACED,
    parts={"model.vision_model": "vision", "model.connector": "projector"},
    lora_targets=rf".*(text_model.*\.{PROJECTIONS}|connector\.modality_projection\.proj)",
    blocks=("SmolVLMEncoderLayer", "Idefics3EncoderLayer", "LlamaDecoderLayer"),
    prepare=_prepare,
    frames=_frames,
    image_grid=_grid,
    image_text=_image_text,
    tensors=("pixel_values", "pixel_attention_mask"),
)
