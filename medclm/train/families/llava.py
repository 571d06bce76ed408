"""LLaVA and ViP-LLaVA (arXiv 2310.03744, 2312.00784): any vision tower, two projector layers, any language model.

The Hugging Face processor crops the centre of a picture, which would cut lesions off, and the original pads it to a
square. Here the whole picture is squashed to the tower's square, as SmolVLM does: every image token shows a part of the
picture. Each patch of the tower is one image token; ``vision_feature_select_strategy`` drops the first token of the
tower (``default``) or none (``full``). Tokens that are no patches (CLS, registers) come first.
"""

from __future__ import annotations

from typing import Any

from medclm.errors import MedclmError
from medclm.train.codecs import SHARES
from medclm.train.families.base import PROJECTIONS, Family, Frame, SizeHw, fixed, square_side

BLOCKS = (
    "CLIPEncoderLayer", "SiglipEncoderLayer", "Siglip2EncoderLayer", "Dinov2Layer", "Dinov2WithRegistersLayer",
    "LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer", "GemmaDecoderLayer",
    "Gemma2DecoderLayer", "Phi3DecoderLayer",
)  # fmt: skip


def prepare(processor: Any) -> None:
    """Whole picture to one square."""
    images = processor.image_processor
    cropped = getattr(images, "do_center_crop", False) and getattr(images, "crop_size", None)
    side = square_side(images.crop_size if cropped else images.size, "the image processor")
    images.size = {"height": side, "width": side}
    images.do_center_crop = False
    if hasattr(images, "do_pad"):
        images.do_pad = False


def _frames(processor: Any) -> Any:
    if not processor.patch_size:
        raise MedclmError(
            "the processor does not know the vision tower's patches",
            where="processor_config.json",
            expected="patch_size, vision_feature_select_strategy and num_additional_image_tokens",
            remedy="add them: for CLIP and DINOv2 towers the patch, default and 1; for SigLIP the patch, full and 0",
        )
    side = square_side(processor.image_processor.size, "the image processor")
    grid = side // processor.patch_size
    skip = processor.num_additional_image_tokens - (processor.vision_feature_select_strategy == "default")
    if skip < 0:
        raise MedclmError(
            "the processor counts fewer image tokens than the picture has patches",
            where="processor_config.json",
            got=f"strategy default, num_additional_image_tokens {processor.num_additional_image_tokens}",
            expected="num_additional_image_tokens 1 or more where the strategy drops the first token",
            remedy="set num_additional_image_tokens to the tower's class and register tokens",
        )
    return fixed(Frame((side, side), (grid, grid), skip))


def _grid(config: Any) -> SizeHw | None:
    """None for towers that take any size of picture (they interpolate their positions)."""
    vision = config.vision_config
    if vision.model_type not in ("clip_vision_model", "siglip_vision_model"):
        return None
    side = vision.image_size // vision.patch_size
    return side, side


LLAVA = Family(
    name="llava",
    model_types=("llava", "vipllava"),
    codec=SHARES,
    parts={"model.vision_tower": "vision", "model.multi_modal_projector": "projector"},
    lora_targets=rf".*(language_model.*\.({PROJECTIONS}|qkv_proj|gate_up_proj)|multi_modal_projector\.linear_[12])",
    blocks=BLOCKS,
    prepare=prepare,
    frames=_frames,
    image_grid=_grid,
)
