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


def idefics3() -> tuple[Any, Any]:
    import transformers as hf

    special = [*SPECIAL, "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<row_1_col_1>"]
    tokenizer = tokenizer_of(special, image_token="<image>")
    edge = {"longest_edge": 56}
    images = hf.Idefics3ImageProcessor(size=edge, max_image_size=edge)
    processor = hf.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=CHAT.replace("IMAGE", "<image>"))
    config = hf.Idefics3Config(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        vision_config=VISION,
        text_config={**_text(tokenizer), "model_type": "llama"},
        pad_token_id=tokenizer.pad_token_id,
    )
    return hf.Idefics3ForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    from medclm.train.tiny import TinySize, tiny_model, tiny_processor, train_tokenizer
    from medclm.train.views import training_text
    from tests.train.conftest import TINY

    size = TinySize(**TINY)
    texts = [training_text(question) for n in range(4) for question in make_record(n).questions]
    processor = tiny_processor(train_tokenizer(texts, size), size)
    return tiny_model(processor.tokenizer, size), processor


def onevision() -> tuple[Any, Any]:
    import transformers as hf

    tokenizer = tokenizer_of([*SPECIAL, "<video>"], image_token="<image>", video_token="<video>")
    square = {"height": 56, "width": 56}
    pinpoints = [[56, 56], [56, 112], [112, 56], [112, 112]]
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=square, image_grid_pinpoints=pinpoints),
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=square),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = hf.LlavaOnevisionConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model"},
        text_config={**_text(tokenizer), "model_type": "qwen2"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def qwen(kind: str) -> tuple[Any, Any]:
    """``kind``: Qwen2VL, Qwen2_5_VL or Qwen3VL."""
    import transformers as hf

    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|box_start|>", "<|box_end|>"]
    tokenizer = tokenizer_of([*SPECIAL[:3], *marks])
    patch = 16 if kind == "Qwen3VL" else 14
    videos = hf.Qwen3VLVideoProcessor if kind == "Qwen3VL" else hf.Qwen2VLVideoProcessor
    processor = getattr(hf, f"{kind}Processor")(
        hf.Qwen2VLImageProcessor(patch_size=patch, size={"shortest_edge": 56 * 56, "longest_edge": 120 * 120}),
        tokenizer,
        videos(),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    vision = {
        "Qwen2VL": {"embed_dim": 16, "hidden_size": 16, "mlp_ratio": 2, "depth": 2},
        "Qwen2_5_VL": {"hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 32, "depth": 2,
                       "fullatt_block_indexes": [1], "window_size": 56},
        "Qwen3VL": {"hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 32, "depth": 2,
                    "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
    }[kind]  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [1, 1, 0] if kind != "Qwen3VL" else [2, 1, 1], "rope_theta": 1e4}
    head = {"head_dim": 8} if kind == "Qwen3VL" else {}
    config = getattr(hf, f"{kind}Config")(
        vision_config={**vision, "num_heads": 2, "patch_size": patch, "initializer_range": 0.2},
        text_config=_text(tokenizer, rope_parameters=rope, **head),
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    return getattr(hf, f"{kind}ForConditionalGeneration")(config), processor


def internvl() -> tuple[Any, Any]:
    import transformers as hf

    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
             "video_token": "<video>"}  # fmt: skip
    tokenizer = tokenizer_of([*SPECIAL[:3], *named.values(), "<box>", "</box>"], **named)
    processor = hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size={"height": 56, "width": 56}, crop_to_patches=True, max_patches=4),
        tokenizer,
        hf.InternVLVideoProcessor(size={"height": 56, "width": 56}),
        image_seq_length=4,
        chat_template=CHAT.replace("IMAGE", "<IMG_CONTEXT>"),
    )
    config = hf.InternVLConfig(
        vision_config=VISION,
        text_config={**_text(tokenizer), "model_type": "qwen2"},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    return hf.InternVLForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    import transformers as hf

    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = tokenizer_of([*SPECIAL[:3], *named.values()], **named)
    processor = hf.Gemma3Processor(
        hf.Gemma3ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer,
        CHAT.replace("IMAGE", "<start_of_image>"),
        image_seq_length=4,
    )
    text = _text(tokenizer, head_dim=8, sliding_window=24, query_pre_attn_scalar=8,
                 layer_types=["sliding_attention", "full_attention", "sliding_attention"])  # fmt: skip
    config = hf.Gemma3Config(
        vision_config={**VISION, "vision_use_head": False},
        text_config=text,
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
    )
    model = hf.Gemma3ForConditionalGeneration(config)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(0, 0.2)  # made of zeros
    return model, processor


def paligemma() -> tuple[Any, Any]:
    import transformers as hf

    tokenizer = tokenizer_of(SPECIAL, image_token="<image>")
    images = hf.SiglipImageProcessor(size={"height": 56, "width": 56})
    images.image_seq_length = 16
    processor = hf.PaliGemmaProcessor(images, tokenizer)
    config = hf.PaliGemmaConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={**_text(tokenizer, head_dim=8), "model_type": "gemma"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        hidden_size=16,
        projection_dim=16,
        vocab_size=len(tokenizer),
    )
    return hf.PaliGemmaForConditionalGeneration(config), processor


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "smolvlm": smolvlm,
    "idefics3": idefics3,
    "llava-clip": llava,
    "llava-siglip": lambda: llava("siglip_vision_model"),
    "llava-dinov2": lambda: llava("dinov2"),
    "vipllava": lambda: llava(kind="VipLlava"),
    "llava_onevision": onevision,
    "qwen2_vl": lambda: qwen("Qwen2VL"),
    "qwen2_5_vl": lambda: qwen("Qwen2_5_VL"),
    "qwen3_vl": lambda: qwen("Qwen3VL"),
    "internvl": internvl,
    "gemma3": gemma3,
    "paligemma": paligemma,
}
"""By name, a function that makes (model, processor)."""


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
