"""Gemma 3 (MedGemma) and PaliGemma: SigLIP on a squashed square, and image tokens that see each other both ways.

Gemma 3 (arXiv 2503.19786) pools the tower to 16 x 16 tokens; "pan and scan" crops are turned off. Its image tokens
attend to all of their picture (``token_type_ids`` 1), text is causal; five of six layers see a sliding window only.
PaliGemma (arXiv 2407.07726) has no turns: image tokens, ``<bos>``, the prompt and a line break form a prefix that is
seen both ways (``token_type_ids`` 0), the answer is a causal suffix (1) and ends with ``<eos>``. What
:data:`~medclm.train.encode.FORCED` gives belongs to the prefix in training as it does at inference.
"""

from __future__ import annotations

from typing import Any

from medclm.train.codecs import BOX_2D, LOCATIONS
from medclm.train.families.base import PROJECTIONS, Family, Frame, SizeHw, fixed, square_side

PARTS = {"model.vision_tower": "vision", "model.multi_modal_projector": "projector"}


def _frames(length: str) -> Any:
    """``length``: the processor's attribute that holds the number of image tokens."""

    def frames(processor: Any) -> Any:
        side = square_side(processor.image_processor.size, "the image processor")
        grid = round(getattr(processor, length) ** 0.5)
        return fixed(Frame((side, side), (grid, grid)))

    return frames


def _no_crops(processor: Any) -> None:
    processor.image_processor.do_pan_and_scan = False


def _gemma_grid(config: Any) -> SizeHw:
    side = round(config.mm_tokens_per_image**0.5)
    return side, side


def _paligemma_grid(config: Any) -> SizeHw:
    side = config.vision_config.image_size // config.vision_config.patch_size
    return side, side


def _prefix_chat(processor: Any, pictures: int, question: str, answer: str) -> str:
    tokenizer = processor.tokenizer
    return f"{processor.image_token * pictures}{tokenizer.bos_token}{question}\n{answer}{tokenizer.eos_token}"


GEMMA3 = Family(
    name="gemma3",
    model_types=("gemma3",),
    codec=BOX_2D,
    parts=dict(PARTS),  # type: ignore[arg-type]
    lora_targets=rf".*language_model.*\.{PROJECTIONS}",
    blocks=("SiglipEncoderLayer", "Gemma3DecoderLayer"),
    prepare=_no_crops,
    frames=_frames("image_seq_length"),
    image_grid=_gemma_grid,
    image_token=lambda processor: processor.tokenizer.image_token,
    more_inputs=lambda image_mask, prompt: {"token_type_ids": image_mask.long()},
)
PALIGEMMA = Family(
    name="paligemma",
    model_types=("paligemma",),
    codec=LOCATIONS,
    parts=dict(PARTS),  # type: ignore[arg-type]
    lora_targets=rf".*(language_model.*\.{PROJECTIONS}|multi_modal_projector\.linear)",
    blocks=("SiglipEncoderLayer", "GemmaDecoderLayer", "Gemma2DecoderLayer"),
    prepare=lambda processor: None,
    frames=_frames("image_seq_length"),
    image_grid=_paligemma_grid,
    more_inputs=lambda image_mask, prompt: {"token_type_ids": (~prompt).long()},
    chat=_prefix_chat,
)
