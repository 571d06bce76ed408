"""The ``tiny`` base model: SmolVLM's architecture at a size that a CPU trains in a minute, made from the data's texts.

It is an ordinary Hugging Face directory (config, weights, tokenizer, processor), so everything downstream treats it
like any other base model. Nothing is downloaded. The language model is random; so is the vision tower, unless its shape
is that of the shipped weights (:mod:`medclm.train.vision`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclm.train import vision

SPECIAL = {
    "pad": "<pad>",
    "start": "<|im_start|>",
    "end": "<end_of_utterance>",
    "fake": "<fake_token_around_image>",
    "image": "<image>",
    "global": "<global-img>",
    "video": "<video>",
}
NUMBER_REPEATS = 200
"""How often each pixel number is shown to the tokenizer's training, so that it becomes one token."""


@dataclass(frozen=True)
class TinySize:
    """The shape of the model, as in :class:`medclm.config.TinyConfig`; image tokens = (image/patch/scale)**2.

    ``init`` is the standard deviation of the random weights: at these widths the usual 0.02 learns far more slowly.
    """

    image_size: int = 96
    patch_size: int = 8
    scale: int = 2
    vision: str = "auto"
    vision_width: int = 96
    vision_layers: int = 3
    text_width: int = 96
    text_layers: int = 3
    heads: int = 4
    vocabulary: int = 1024
    init: float = 0.06

    @property
    def image_tokens(self) -> int:
        return (self.image_size // self.patch_size // self.scale) ** 2


def make_tiny(texts: Iterable[str], out: str | Path, seed: int = 0, size: TinySize | None = None) -> Path:
    """Writes the base model: a function of (texts, seed, size) alone.

    Args:
        texts: what the tokenizer is trained on.
        out: directory to write.
        seed: of the random weights.
    """
    import torch

    size = size or TinySize()
    processor = tiny_processor(train_tokenizer(texts, size), size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = tiny_model(processor.tokenizer, size)
    if size.vision == "phantom" or (size.vision == "auto" and fits(size)):
        vision.load_into(model)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return Path(out)


def fits(size: TinySize) -> bool:
    """Whether the vision tower has the shape of the shipped weights."""
    return all(getattr(size, name) == value for name, value in vision.SHAPE.items())


def train_tokenizer(texts: Iterable[str], size: TinySize) -> Any:
    """A byte-level BPE tokenizer that gives back any text unchanged; whole pixel numbers are single tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    numbers = " ".join(f"[{n} {n}" for n in range(size.image_size + 1))
    raw.train_from_iterator([*texts, *[numbers] * NUMBER_REPEATS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=SPECIAL["start"],
        eos_token=SPECIAL["end"],
        pad_token=SPECIAL["pad"],
        extra_special_tokens={
            "image_token": SPECIAL["image"],
            "fake_image_token": SPECIAL["fake"],
            "global_image_token": SPECIAL["global"],
            "end_of_utterance_token": SPECIAL["end"],
            "video_token": SPECIAL["video"],
        },
        clean_up_tokenization_spaces=False,
    )


def tiny_processor(tokenizer: Any, size: TinySize) -> Any:
    """SmolVLM's processor for one square view of the picture."""
    from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE, SmolVLMProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    edge = {"longest_edge": size.image_size}
    images = SmolVLMImageProcessor(size=edge, max_image_size=edge, do_image_splitting=False)
    videos = SmolVLMVideoProcessor(size=edge, max_image_size=edge)
    return SmolVLMProcessor(
        images, tokenizer, videos, image_seq_len=size.image_tokens, chat_template=DEFAULT_CHAT_TEMPLATE
    )


def tiny_model(tokenizer: Any, size: TinySize) -> Any:
    """The model with random weights of torch's current generator."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        image_token_id=tokenizer.convert_tokens_to_ids(SPECIAL["image"]),
        scale_factor=size.scale,
        tie_word_embeddings=True,
        vision_config={
            "hidden_size": size.vision_width,
            "intermediate_size": 2 * size.vision_width,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.heads,
            "image_size": size.image_size,
            "patch_size": size.patch_size,
            "initializer_range": size.init,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": size.text_width,
            "intermediate_size": 2 * size.text_width,
            "num_hidden_layers": size.text_layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads,
            "max_position_embeddings": 2048,
            "initializer_range": size.init,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": True,
        },
    )
    config.pad_token_id = tokenizer.pad_token_id
    model = SmolVLMForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
