"""The tiny base model's eye: a vision tower that has already looked at phantoms, as a real model's has at pictures.

A vision-language model is never fine-tuned from a random vision tower; the ``tiny`` one would be, and minutes on a CPU
then go into learning to see. So the package ships a tower that was taught, patch by patch, which organ and which
finding a phantom shows there (:func:`pretrain`, ``medclm pretrain-vision``). Its phantoms have a seed of their own; it
has seen no question, no answer and no box text. ``weights/vision-phantom.md`` is its card.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medclm import storage
from medclm.errors import UsageError

SHIPPED = Path(__file__).parent / "weights" / "vision-phantom"
SHAPE = {"image_size": 96, "patch_size": 8, "vision_width": 96, "vision_layers": 3, "heads": 4}
"""The :class:`medclm.train.tiny.TinySize` fields that the shipped weights fit."""
ORGANS = (
    "left_upper_lobe", "left_lower_lobe", "right_upper_lobe", "right_middle_lobe", "right_lower_lobe", "heart", "liver",
    "left_ribs", "right_ribs", "spine",
)  # fmt: skip
DRAWN_SIZE, HELD_OUT = 128, 200
GREY_LOW, GREY_HIGH = 0.02, 0.96
"""The grey values that a phantom's display window shows as black and as white."""
POSITIVE_WEIGHT, FINDING_WEIGHT, LEARNING_RATE, BATCH = 5.0, 4.0, 2e-3, 32

Progress = Callable[[int, int], None]


def pretrain(
    out_stem: str | Path, images: int = 3000, steps: int = 1500, seed: int = 1000, progress: Progress | None = None
) -> dict[str, Any]:
    """Teaches a tower and writes ``STEM.safetensors`` (float16), ``STEM.json`` and the card ``STEM.md``.

    Each patch is asked how much of it every organ and every finding covers (binary cross-entropy; a finding's largest
    cover in a picture counts as 1). Equal arguments give equal weights on one machine.

    Args:
        out_stem: where to write.
        images: phantom radiographs drawn for it; the last :data:`HELD_OUT` are only measured on.
        steps: optimizer steps of :data:`BATCH` pictures.
        seed: of the phantoms, the weights and the order.

    Returns:
        What ``STEM.json`` holds: how it was made, and for each finding the area under the ROC curve of "this picture
        has one", from the highest patch, on the held-out pictures.
    """
    import torch

    if images <= HELD_OUT:
        raise UsageError("too few pictures to learn from", expected=f"more than {HELD_OUT}", got=images)
    began = time.monotonic()
    pictures, targets, names = draw_patches(images, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = build_tower()
        head = torch.nn.Linear(SHAPE["vision_width"], len(names))
        _fit(tower, head, (pictures[:-HELD_OUT], targets[:-HELD_OUT]), (steps, seed), progress)
    facts = {
        "shape": SHAPE,
        "pictures": images - HELD_OUT,
        "steps": steps,
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        "torch": version("torch"),
        "auc": _auc(tower, head, pictures[-HELD_OUT:], targets[-HELD_OUT:], names),
    }
    _save(Path(out_stem), tower, facts)
    return facts


def load_into(model: Any, stem: str | Path = SHIPPED) -> None:
    """Puts a tower's weights into the vision tower of a ``tiny`` model, in place.

    Raises:
        UsageError: the weights are missing or the model has another shape.
    """
    import torch
    from safetensors.torch import load_file

    facts = storage.read_json(f"{stem}.json")
    config = model.config.vision_config
    shape = {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "vision_width": config.hidden_size,
        "vision_layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
    }
    if shape != facts["shape"]:
        raise UsageError(
            "the vision weights do not fit the model",
            where=f"{stem}.safetensors",
            expected=facts["shape"],
            got=shape,
            remedy="set model.tiny to these sizes, or model.tiny.vision=random",
        )
    weights = {name: tensor.to(torch.float32) for name, tensor in load_file(f"{stem}.safetensors").items()}
    model.model.vision_model.load_state_dict(weights)


def build_tower() -> Any:
    """A SmolVLM vision tower of :data:`SHAPE` with random weights."""
    from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
    from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionTransformer

    return SmolVLMVisionTransformer(
        SmolVLMVisionConfig(
            hidden_size=SHAPE["vision_width"],
            intermediate_size=2 * SHAPE["vision_width"],
            num_hidden_layers=SHAPE["vision_layers"],
            num_attention_heads=SHAPE["heads"],
            image_size=SHAPE["image_size"],
            patch_size=SHAPE["patch_size"],
            initializer_range=0.06,
        )
    )


def draw_patches(images: int, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(N, 96, 96) uint8 pictures, (N, C, 12, 12) float16 cover of each patch, the C names: organs, then findings."""
    from PIL import Image

    from medclm.samples.phantom import draw, visits
    from medclm.samples.place import LABELS

    side, grid = SHAPE["image_size"], SHAPE["image_size"] // SHAPE["patch_size"]
    pictures = np.zeros((images, side, side), np.uint8)
    targets = np.zeros((images, len(ORGANS) + len(LABELS), grid, grid), np.float16)

    def cover(mask: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(mask.astype(np.float32)).resize((grid, grid), Image.Resampling.BOX))

    for n, visit in enumerate(visits(images, seed, "radiograph")):
        image = draw(visit, DRAWN_SIZE)
        grey = np.clip((image.values - GREY_LOW) / (GREY_HIGH - GREY_LOW), 0, 1)
        shown = Image.fromarray((255 * grey).astype(np.uint8))
        pictures[n] = np.asarray(shown.resize((side, side), Image.Resampling.LANCZOS))
        for channel, organ in enumerate(ORGANS):
            if organ in image.masks:
                targets[n, channel] = cover(image.masks[organ])
        for finding in image.findings:
            channel = len(ORGANS) + LABELS.index(finding.label)
            share = cover(finding.mask)
            targets[n, channel] = np.maximum(targets[n, channel], share / share.max())
    return pictures, targets, (*ORGANS, *LABELS)


def _fit(tower: Any, head: Any, data: tuple[np.ndarray, np.ndarray], plan: tuple[int, int], progress: Any) -> None:
    import torch

    (pictures, targets), (steps, seed) = data, plan
    rng = np.random.default_rng(seed)
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05, foreach=True)
    positive = torch.full((targets.shape[1], 1, 1), POSITIVE_WEIGHT)
    positive[: len(ORGANS)] = 1.0
    weight = torch.full((targets.shape[1], 1, 1), FINDING_WEIGHT)
    weight[: len(ORGANS)] = 1.0
    for step in range(steps):
        rate = min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate * LEARNING_RATE
        chosen = rng.integers(0, len(pictures), BATCH)
        wanted = torch.from_numpy(targets[chosen]).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            _logits(tower, head, pictures[chosen]), wanted, weight=weight, pos_weight=positive
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if progress:
            progress(step + 1, steps)


def _logits(tower: Any, head: Any, pictures: np.ndarray) -> Any:
    """(B, C, 12, 12) for (B, 96, 96) uint8; pixels as SmolVLM's processor makes them: -1 to 1, three equal channels."""
    import torch

    values = (torch.from_numpy(pictures).float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1)
    grid = SHAPE["image_size"] // SHAPE["patch_size"]
    mask = torch.ones(len(values), grid, grid, dtype=torch.bool)
    hidden = tower(pixel_values=values, patch_attention_mask=mask).last_hidden_state
    return head(hidden).transpose(1, 2).reshape(len(values), -1, grid, grid)


def _auc(
    tower: Any, head: Any, pictures: np.ndarray, targets: np.ndarray, names: tuple[str, ...]
) -> dict[str, float | None]:
    """Area under the ROC curve of each finding; None where the held-out pictures are all alike."""
    import torch
    from torchmetrics.functional.classification import binary_auroc

    with torch.inference_mode():
        logits = torch.cat([_logits(tower, head, pictures[n : n + 50]) for n in range(0, len(pictures), 50)])
    scores = logits.flatten(2).amax(-1)
    present = torch.from_numpy(targets).flatten(2).amax(-1) > 0.5
    found: dict[str, float | None] = {}
    for channel in range(len(ORGANS), len(names)):
        truth = present[:, channel].long()
        known = 0 < int(truth.sum()) < len(truth)
        found[names[channel]] = round(float(binary_auroc(scores[:, channel], truth)), 3) if known else None
    return found


def _save(stem: Path, tower: Any, facts: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save

    weights = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in tower.state_dict().items()}
    storage.write_atomic(f"{stem}.safetensors", save(weights))
    storage.write_atomic(f"{stem}.json", (json.dumps(facts, indent=2) + "\n").encode())
    storage.write_atomic(f"{stem}.md", card(stem.name, facts).encode())


def card(name: str, facts: dict[str, Any]) -> str:
    """The model card, Markdown."""
    rows = "\n".join(f"| {finding} | {'-' if auc is None else auc} |" for finding, auc in facts["auc"].items())
    return f"""# {name}

The vision tower of the `tiny` base model (SmolVLM's architecture, {facts["shape"]}), float16.

## How it was made

`medclm pretrain-vision`: {facts["pictures"]} phantom radiographs of seed {facts["seed"]} (`medclm sample phantom`
draws with seed 0 unless told otherwise), {facts["steps"]} steps of {BATCH}, {facts["seconds"]} s, torch
{facts["torch"]}. Each patch learnt how much of it every organ and every finding covers. No question, answer, box text
or drawn box was seen.

## How good it is

Area under the ROC curve of "this picture has one" on {HELD_OUT} pictures of other patients:

| finding | AUC |
| --- | --- |
{rows}

## Limits

It knows this package's phantoms and nothing else: it stands in for a pretrained tower where no weights can be had. Not
for diagnosis.
"""
