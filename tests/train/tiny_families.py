"""The smallest random model of each family, made from config: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.train.conftest import make_record

SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<image>"]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}IMAGE\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.2}  # fmt: skip
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 56, "patch_size": 14, "initializer_range": 0.2}  # fmt: skip


def tokenizer_of(special: list[str], **named: str) -> Any:
    """A byte-level tokenizer taught on the squares' texts. ``named``: attributes such as image_token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from medclm.train.views import training_text

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator([training_text(q) for n in range(4) for q in make_record(n).questions], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=special[1],
        eos_token=special[2],
        pad_token=special[0],
        extra_special_tokens=named,
        clean_up_tokenization_spaces=False,
    )


def _text(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {**TEXT, "vocab_size": len(tokenizer), **ids, **changes}


def llava(tower: str = "clip_vision_model", kind: str = "Llava") -> tuple[Any, Any]:
    """(model, processor). ``tower``: clip_vision_model, siglip_vision_model or dinov2. ``kind``: Llava or VipLlava."""
    import transformers as hf

    tokenizer = tokenizer_of(SPECIAL, image_token="<image>")
    images = {
        "clip_vision_model": lambda: hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=56),
        "siglip_vision_model": lambda: hf.SiglipImageProcessor(size={"height": 56, "width": 56}),
        "dinov2": lambda: hf.BitImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56}),
    }[tower]()
    strategy, others = ("full", 0) if tower == "siglip_vision_model" else ("default", 1)
    processor = hf.LlavaProcessor(
        images, tokenizer, 14, strategy, CHAT.replace("IMAGE", "<image>"), num_additional_image_tokens=others
    )
    vision = {**VISION, "model_type": tower}
    if tower == "dinov2":  # a larger training size, as the published towers have: positions are interpolated
        vision = {**vision, "image_size": 70, "mlp_ratio": 2}
    extra = {"vision_feature_layer": [-2, -1]} if kind == "VipLlava" else {
        "vision_feature_layer": -1, "vision_feature_select_strategy": strategy}  # fmt: skip
    config = getattr(hf, f"{kind}Config")(
        vision_config=vision,
        text_config={**_text(tokenizer), "model_type": "llama"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        **extra,
    )
    return getattr(hf, f"{kind}ForConditionalGeneration")(config), processor


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava-clip": llava,
    "llava-siglip": lambda: llava("siglip_vision_model"),
    "llava-dinov2": lambda: llava("dinov2"),
    "vipllava": lambda: llava(kind="VipLlava"),
}


def write(name: str, out: Path) -> Path:
    """Model and processor of :data:`MAKERS` as a Hugging Face directory."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = MAKERS[name]()
    for key in ("eos_token_id", "bos_token_id", "pad_token_id"):
        setattr(model.generation_config, key, getattr(processor.tokenizer, key))
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return out
