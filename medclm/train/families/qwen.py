"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: the picture keeps its aspect; each has its own number of image tokens.

The processor rounds a picture's sides to multiples of (patch x merge), 28 or 32 pixels, between ``size`` shortest_edge
and longest_edge *pixels in all* (``smart_resize``). merge x merge patches become one image token. Positions are
three-dimensional and computed from ``image_grid_thw`` and ``mm_token_type_ids``. ``longest_edge`` bounds the memory a
large picture takes: lower it in preprocessor_config.json where a picture makes too many tokens.
"""

from __future__ import annotations

from typing import Any

from medclm.errors import MedclmError
from medclm.train.codecs import BBOX_PIXELS, BBOX_THOUSANDTHS, BOX_TOKENS, BoxCodec
from medclm.train.families.base import PROJECTIONS, Family, Frame, SizeHw

LONGEST_SHAPE = 200
"""Side ratio from which the processor refuses a picture."""


def _frames(processor: Any) -> Any:
    images = processor.image_processor
    side, size = images.patch_size * images.merge_size, images.size
    least, most = size["shortest_edge"], size["longest_edge"]

    def frame_of(size_hw: SizeHw) -> Frame:
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        if max(size_hw) > LONGEST_SHAPE * min(size_hw):
            raise MedclmError(
                "the picture is too long and thin for this family",
                got=f"{size_hw[1]} x {size_hw[0]} pixels",
                expected=f"sides of a ratio of at most {LONGEST_SHAPE}",
                remedy="leave it out of the dataset",
            )
        height, width = smart_resize(*size_hw, factor=side, min_pixels=least, max_pixels=most)
        return Frame((height, width), (height // side, width // side))

    return frame_of


def _more(image_mask: Any, prompt: Any) -> dict[str, Any]:
    return {"mm_token_type_ids": image_mask.int()}


def _family(name: str, codec: BoxCodec, blocks: tuple[str, ...], merger: str) -> Family:
    return Family(
        name=name,
        model_types=(name,),
        codec=codec,
        parts={
            "model.visual": "vision",
            "model.visual.merger": "projector",
            "model.visual.deepstack_merger_list": "projector",
        },
        lora_targets=rf".*(language_model.*\.{PROJECTIONS}|visual\.(merger|deepstack_merger_list\.\d+)\.{merger})",
        blocks=blocks,
        prepare=lambda processor: None,
        frames=_frames,
        image_grid=lambda config: None,
        tensors=("pixel_values", "image_grid_thw"),
        more_inputs=_more,
    )


QWEN2_VL = _family("qwen2_vl", BOX_TOKENS, ("Qwen2VLVisionBlock", "Qwen2VLDecoderLayer"), r"mlp\.[02]")
QWEN2_5_VL = _family("qwen2_5_vl", BBOX_PIXELS, ("Qwen2_5_VLVisionBlock", "Qwen2_5_VLDecoderLayer"), r"mlp\.[02]")
QWEN3_VL = _family("qwen3_vl", BBOX_THOUSANDTHS, ("Qwen3VLVisionBlock", "Qwen3VLTextDecoderLayer"), r"linear_fc[12]")
