"""A vision tower and a language model joined as LLaVA: processor, chat template, and a projector that is random."""

from __future__ import annotations

from typing import Any

import numpy as np

IMAGE = "<image>"
CALIBRATION_PICTURES = 24
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML as SmolLM2 was taught it, without its default system turn: 20 tokens that say nothing here."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, RGB, as DINOv2 takes them."""
_HOUNSFIELD = (-1000.0, 400.0)


def make_processor(tokenizer: Any, image_size: int, patch_size: int) -> Any:
    """LLaVA's processor: the whole picture, squashed to a square, normalised as DINOv2 takes it."""
    from transformers import BitImageProcessor, LlavaProcessor

    side = {"height": image_size, "width": image_size}
    pictures = BitImageProcessor(
        do_resize=True, size=side, resample=3, do_center_crop=False, crop_size=side, image_mean=MEAN, image_std=STD
    )
    return LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )


def join(tower: Any, text: Any, processor: Any, seed: int) -> Any:
    """LlavaForConditionalGeneration of both, in evaluation mode.

    The image token's embedding is the mean of all others (it is replaced by the picture). The projector is random,
    set to the scale of both sides by :func:`random_projector`.
    """
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    tokenizer = processor.tokenizer
    text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embeddings = text.get_input_embeddings().weight.data
    embeddings[processor.image_token_id] = embeddings[: processor.image_token_id].mean(dim=0)
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text.config,
        image_token_index=processor.image_token_id,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        image_seq_length=(processor.image_processor.size["height"] // processor.patch_size) ** 2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        model.model.vision_tower.load_state_dict(tower.state_dict())
        model.model.language_model.load_state_dict(text.model.state_dict())
        model.tie_weights()
        random_projector(model.eval(), processor)
    model.generation_config = text.generation_config
    return model


def random_projector(model: Any, processor: Any) -> None:
    """Draws the projector's weights, in place: training starts from image tokens of a text token's size.

    The tower's last features have a few channels far from zero. Each channel's mean and standard deviation over
    phantom pictures are folded into the first layer, so that it sees standardised features; the second is scaled to
    the root mean square of the token embeddings.
    """
    import torch

    pixels = processor.image_processor(calibration_pictures(), return_tensors="pt")["pixel_values"]
    projector = model.model.multi_modal_projector
    with torch.no_grad():
        states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:].flatten(0, 1)
        mean, std = states.mean(dim=0), states.std(dim=0)
        std = std.clamp(min=0.1 * float(std.median()))
        for layer in (projector.linear_1, projector.linear_2):
            layer.weight.normal_(0, layer.in_features**-0.5)
        projector.linear_1.weight /= std
        projector.linear_1.bias.copy_(-projector.linear_1.weight @ mean)
        projector.linear_2.bias.zero_()
        wanted = model.get_input_embeddings().weight.square().mean().sqrt()
        projector.linear_2.weight *= wanted / projector(states).square().mean().sqrt()


def calibration_pictures() -> list[Any]:
    """Phantom radiographs and CT slices as grey PIL pictures, always the same."""
    import PIL.Image

    from medclm.samples.phantom import draw, visits

    pictures = []
    for visit in visits(CALIBRATION_PICTURES, 0, "mixed"):
        low, high = _HOUNSFIELD if visit.kind == "ct" else (0.0, 1.0)
        grey = np.clip((draw(visit, 128).values - low) / (high - low), 0, 1)
        pictures.append(PIL.Image.fromarray((grey * 255).astype(np.uint8)).convert("RGB"))
    return pictures
