"""LLaVA-OneVision (arXiv 2408.03326): the picture is squashed to the tower's square; one token a patch, one at the end.

The published way to show one picture is "anyres": the square and up to nine tiles of it, unpadded and pooled to a
number of tokens that depends on the shape. That is turned off by the way that the model itself has for examples of
several pictures: it tiles a picture only where ``batch_num_images`` of its example is 1, so 2 is given. What is left is
the base view, 27 x 27 tokens at 384 pixels, and one learnt newline token, which is no part of the grid.
"""

from __future__ import annotations

from typing import Any

from medclm.train.codecs import SHARES
from medclm.train.families.base import PROJECTIONS, Family, Frame, SizeHw, fixed
from medclm.train.families.llava import BLOCKS, prepare

NOT_TILED = 2


def _grid(config: Any) -> SizeHw:
    side = config.vision_config.image_size // config.vision_config.patch_size
    return side, side


def _side(processor: Any) -> int:
    return round((processor.num_image_tokens - (processor.vision_feature_select_strategy == "default")) ** 0.5)


def _frames(processor: Any) -> Any:
    side = processor.image_processor.size["height"]
    return fixed(Frame((side, side), (_side(processor), _side(processor))))


def _process(processor: Any, picture: Any) -> dict[str, Any]:
    """The base view: tensors of one picture, joined along their first dimension."""
    import torch
    from PIL import Image

    side = processor.image_processor.size["height"]
    square = picture.resize((side, side), Image.Resampling.BICUBIC)  # the processor would pad it to a square
    found = processor.image_processor([[square, square]], return_tensors="pt")
    return {
        "pixel_values": found["pixel_values"][:1, 0],
        "image_sizes": found["image_sizes"][:1],
        "batch_num_images": torch.tensor([NOT_TILED]),
    }


def _image_text(processor: Any, found: Any) -> str:
    return processor.image_token * (_side(processor) ** 2 + 1)


LLAVA_ONEVISION = Family(
    name="llava_onevision",
    model_types=("llava_onevision",),
    codec=SHARES,
    parts={
        "model.vision_tower": "vision",
        "model.multi_modal_projector": "projector",
        "model.image_newline": "projector",
    },
    lora_targets=rf".*(language_model.*\.{PROJECTIONS}|multi_modal_projector\.linear_[12])",
    blocks=BLOCKS,
    prepare=prepare,
    frames=_frames,
    image_grid=_grid,
    process=_process,
    image_text=_image_text,
    tensors=("pixel_values", "image_sizes", "batch_num_images"),
)
