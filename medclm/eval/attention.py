"""Attention mass: how much of the language model's attention to the picture lies inside the reference boxes.

After an answer is generated, prompt and text go through the model once more with a recording attention
(:mod:`medclm.train.localize`): rows are the generated tokens, columns the image tokens, in one decoder layer just past
the middle, mean over its heads. Among image tokens alone the weights of a row add up to 1, and a patch counts by how
much of it a box covers. ``even`` is what evenly spread attention would have: below it the model looks elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medclm.data.records import BoxXyxy
from medclm.serve.predictor import Predictor, Request

if TYPE_CHECKING:
    import torch

    from medclm.train.localize import Target

Shown = tuple[Request, str, tuple[BoxXyxy, ...]]
"""(what was asked, the whole text that came back, the reference boxes in pixels of the picture)."""


def attention_masses(predictor: Predictor, shown: Sequence[Shown]) -> list[tuple[float, float]]:
    """(mass, even) of each, 0 to 1.

    The model's attention function is replaced for good by one that gives the same result (SDPA) and can record.
    """
    import numpy as np
    import torch

    from medclm.train.collate import FORCED
    from medclm.train.localize import install

    encoder, model = predictor.encoder, predictor.model
    layers = install(model, (), ())
    texts = [encoder.prompt(r.question, r.mode) + text.removeprefix(FORCED[r.mode]) for r, text, _ in shown]
    starts = [len(encoder.prompt(request.question, request.mode)) for request, _, _ in shown]
    tokens = encoder.tokenizer(
        texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False,
        return_offsets_mapping=True,
    )  # fmt: skip
    offsets = tokens["offset_mapping"][..., 1]
    rows = [((at > start) & mask.bool()).nonzero()[:, 0].tolist() or [int(mask.sum()) - 1]
            for at, start, mask in zip(offsets, starts, tokens["attention_mask"], strict=True)]  # fmt: skip
    target = _target(predictor, tokens["input_ids"], rows, shown, layers)
    pictures = [encoder.image_of(np.asarray(request.image.convert("RGB"))) for request, _, _ in shown]
    pixels = {name: torch.cat([picture[name] for picture in pictures]).to(model.device) for name in pictures[0]}
    names = ("input_ids", "attention_mask")
    with torch.inference_mode():
        model(**{name: tokens[name].to(model.device) for name in names}, **pixels, localize=target, logits_to_keep=1)
    mass = torch.stack([found.mean(1) for found in target.masses]).mean(0)
    each = (mass * target.row_mask).sum(1) / target.row_mask.sum(1)
    return list(zip(each.tolist(), target.weights.mean(1).tolist(), strict=True))


def _target(
    predictor: Predictor, ids: torch.Tensor, rows: list[list[int]], shown: Sequence[Shown], layers: tuple[int, ...]
) -> Target:
    import torch

    from medclm.train.localize import Target, patch_weights

    encoder, device = predictor.encoder, predictor.model.device
    width = max(len(row) for row in rows)
    grid = encoder.grid_hw
    weights = [patch_weights(boxes, (r.image.height, r.image.width), grid) for r, _, boxes in shown]
    image = [(row == encoder.image_token_id).nonzero()[:, 0] for row in ids]
    return Target(
        examples=torch.arange(len(shown), device=device),
        rows=torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device),
        row_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device).bool(),
        image_index=torch.stack(image).to(device),
        weights=torch.stack(weights).to(device),
        layers=layers,
    )
