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
    from medclm.train.localize import install

    encoder, model = predictor.encoder, predictor.model
    layers = install(model, (), ())
    seen = [encoder.look(np.asarray(request.image.convert("RGB"))) for request, _, _ in shown]
    begun = [encoder.prompt(r.question, r.mode, [picture]) for (r, _, _), picture in zip(shown, seen, strict=True)]
    texts = [start + text.removeprefix(FORCED[r.mode]) for start, (r, text, _) in zip(begun, shown, strict=True)]
    tokens = encoder.tokenizer(
        texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False,
        return_offsets_mapping=True,
    )  # fmt: skip
    offsets, ids, mask = tokens["offset_mapping"][..., 1], tokens["input_ids"], tokens["attention_mask"].bool()
    rows = [((at > len(start)) & real).nonzero()[:, 0].tolist() or [int(real.sum()) - 1]
            for at, start, real in zip(offsets, begun, mask, strict=True)]  # fmt: skip
    target = _target(predictor, ids, rows, shown, seen, layers)
    prompt = (offsets <= torch.tensor([len(start) for start in begun])[:, None]) & mask
    inputs = {"attention_mask": tokens["attention_mask"], **encoder.inputs(ids, prompt, seen)}
    with torch.inference_mode():
        model(**{name: tensor.to(model.device) for name, tensor in inputs.items()}, localize=target, logits_to_keep=1)
    mass = torch.stack([found.mean(1) for found in target.masses.values()]).mean(0)
    each = (mass * target.row_mask).sum(1) / target.row_mask.sum(1)
    share = (target.weights * target.image_mask).sum(1) / target.image_mask.sum(1)
    return list(zip(each.tolist(), share.tolist(), strict=True))


def _target(
    predictor: Predictor, ids: torch.Tensor, rows: list[list[int]], shown: Sequence[Shown], seen: list[Seen],
    layers: tuple[int, ...],
) -> Target:  # fmt: skip
    import torch

    from medclm.train.localize import Target, patch_weights

    pad, device = torch.nn.utils.rnn.pad_sequence, predictor.model.device
    weights, index = [], []
    for (request, _, boxes), picture, row in zip(shown, seen, ids, strict=True):
        grid, first = picture.frame.grid_hw, picture.frame.skip
        weights.append(patch_weights(boxes, (request.image.height, request.image.width), grid))
        tokens = (row == predictor.encoder.image_token_id).nonzero()[:, 0]
        index.append(tokens[first : first + grid[0] * grid[1]])
    real = [torch.ones(len(places), dtype=torch.bool) for places in index]
    supervised = [torch.tensor(places) for places in rows]
    return Target(
        examples=torch.arange(len(shown), device=device),
        rows=pad(supervised, batch_first=True).to(device),
        row_mask=pad([torch.ones(len(p), dtype=torch.bool) for p in supervised], batch_first=True).to(device),
        image_index=pad(index, batch_first=True).to(device),
        image_mask=pad(real, batch_first=True).to(device),
        weights=pad(weights, batch_first=True).to(device),
        layers=layers,
    )
