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

    from medclm.train.encode import Seen
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
    from medclm.train.localize import by_row, install

    encoder, model = predictor.encoder, predictor.model
    layers = install(model, (), ())
    pictures = [encoder.look(np.asarray(request.image.convert("RGB"))) for request, _, _ in shown]
    prompts = [encoder.prompt(r.question, r.mode, [(r.image.height, r.image.width)]) for r, _, _ in shown]
    texts = [prompt + text.removeprefix(FORCED[r.mode]) for prompt, (r, text, _) in zip(prompts, shown, strict=True)]
    tokens = encoder.tokenizer(
        texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False,
        return_offsets_mapping=True,
    )  # fmt: skip
    ends, mask = tokens["offset_mapping"][..., 1], tokens["attention_mask"].bool()
    spoken = (ends > torch.tensor([len(prompt) for prompt in prompts])[:, None]) & mask
    rows = [row.nonzero()[:, 0].tolist() or [int(kept.sum()) - 1] for row, kept in zip(spoken, mask, strict=True)]
    target = _target(predictor, tokens["input_ids"], rows, shown, pictures, layers)
    inputs = encoder.inputs(tokens["input_ids"], ~spoken & mask, pictures)
    inputs["attention_mask"] = tokens["attention_mask"]
    with torch.inference_mode():
        model(**{name: value.to(model.device) for name, value in inputs.items()}, localize=target, logits_to_keep=1)
    mass = by_row(target.masses)
    each = (mass * target.row_mask).sum(1) / target.row_mask.sum(1)
    even = target.weights[:, 0].sum(1) / target.image_mask.sum(1)
    return list(zip(each.tolist(), even.tolist(), strict=True))


def _target(
    predictor: Predictor, ids: torch.Tensor, rows: list[list[int]], shown: Sequence[Shown], pictures: list[Seen],
    layers: tuple[int, ...],
) -> Target:  # fmt: skip
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from medclm.train.localize import Target, patch_weights

    encoder, device = predictor.encoder, predictor.model.device
    weights, image = [], []
    for row, picture, (request, _, boxes) in zip(ids, pictures, shown, strict=True):
        size_hw, grid = (request.image.height, request.image.width), picture.frame.grid_hw
        weights.append(patch_weights(boxes, size_hw, grid))
        found = (row == encoder.image_token_id).nonzero()[:, 0]
        image.append(found[picture.frame.skip : picture.frame.skip + grid[0] * grid[1]])

    def padded(found: list[torch.Tensor]) -> torch.Tensor:
        return pad_sequence(found, batch_first=True).to(device)

    return Target(
        examples=torch.arange(len(shown), device=device),
        rows=padded([torch.tensor(row) for row in rows]),
        row_mask=padded([torch.ones(len(row), dtype=torch.bool) for row in rows]),
        image_index=padded(image),
        image_mask=padded([torch.ones(len(found), dtype=torch.bool) for found in image]),
        weights=padded(weights)[:, None],
        places=padded([torch.zeros(len(row), dtype=torch.int64) for row in rows]),
        layers=layers,
    )
