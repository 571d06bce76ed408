"""Examples to one batch of tensors.

Shapes: B examples, L tokens (padded on the right), T target tokens of the batch, in reading order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclm.train.encode import FORCED, IN_ANSWER, NONE, Encoder, Mode, Seen
from medclm.train.localize import Heads, Target, patch_weights
from medclm.train.views import Example

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["FORCED", "Batch", "Encoder", "Mode", "collate", "prompts"]


@dataclass
class Batch:
    """One batch on its device.

    Attributes:
        inputs: what the model takes: input_ids (B, L) int64 and the image tensors.
        attention_mask: (B, L) int64, 0 at padding. A causal model does not need it: padding is on the right.
        keep: (B, L) bool, positions whose logits predict a target token.
        targets: (T,) int64. is_answer: (T,) bool, False for reasoning.
        owner: (T,) int64, the example of each target token.
        localize: the attention target, or None where no example has a box.
        examples: what the batch was made of.
    """

    inputs: dict[str, torch.Tensor]
    attention_mask: torch.Tensor
    keep: torch.Tensor
    targets: torch.Tensor
    is_answer: torch.Tensor
    owner: torch.Tensor
    localize: Target | None
    examples: list[Example]

    def to(self, device: Any) -> Batch:
        for name in ("attention_mask", "keep", "targets", "is_answer", "owner"):
            setattr(self, name, getattr(self, name).to(device))
        self.inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        if self.localize is not None:
            for name in Target.TENSORS:
                setattr(self.localize, name, getattr(self.localize, name).to(device))
        return self


def collate(encoder: Encoder, examples: list[Example], layers: tuple[int, ...] = (), heads: Heads = (),
            form: str = "mass") -> Batch:  # fmt: skip
    """One training batch.

    Args:
        layers, heads, form: of the attention target, see :class:`medclm.train.localize.Target`.
    """
    import torch

    seen = [[encoder.see(shown) for shown in example.images] for example in examples]
    texts = [encoder.text(example) for example in examples]
    ids, mask = _pad([text[0] for text in texts], encoder.tokenizer.pad_token_id, left=False)
    roles, _ = _pad([text[1] for text in texts], NONE, left=False)
    chosen = roles[:, 1:] > 0
    keep = torch.zeros_like(mask, dtype=torch.bool)
    keep[:, :-1] = chosen
    prompt = (roles > 0).cumsum(1) == 0
    return Batch(
        inputs=encoder.inputs(ids, prompt, [picture for pictures in seen for picture in pictures]),
        attention_mask=mask,
        keep=keep,
        targets=ids[:, 1:][chosen],
        is_answer=roles[:, 1:][chosen] == IN_ANSWER,
        owner=chosen.nonzero()[:, 0],
        localize=_localize(encoder, examples, seen, ids, keep, [text[2] for text in texts], (layers, heads, form))
        if layers
        else None,
        examples=examples,
    )


def _localize(
    encoder: Encoder,
    examples: list[Example],
    seen: list[list[Seen]],
    ids: torch.Tensor,
    keep: torch.Tensor,
    lines: list[list[int]],
    settings: tuple[tuple[int, ...], Heads, str],
) -> Target | None:
    """The attention target: of every example with a box, the image tokens of the pictures that have boxes."""
    import torch

    chosen = [n for n, example in enumerate(examples) if any(shown.loc_boxes for shown in example.images)]
    if not chosen:
        return None
    index, weights, places = [], [], []
    kept = [keep[n].nonzero()[:, 0].tolist() for n in chosen]
    for n, positions in zip(chosen, kept, strict=True):
        tokens = (ids[n] == encoder.image_token_id).nonzero()[:, 0].tolist()
        found = _image_target(examples[n], seen[n], tokens)
        own, place_of = _by_line(examples[n], seen[n])
        index.append(found[0])
        weights.append(torch.stack([found[1], *own]))
        places.append([place_of.get(lines[n][position + 1], 0) for position in positions])
    rows, row_mask = _pad(kept, 0, left=False)
    image_index, image_mask = _pad(index, 0, left=False)
    layers, heads, form = settings
    return Target(
        examples=torch.tensor(chosen),
        rows=rows,
        row_mask=row_mask.bool(),
        image_index=image_index,
        image_mask=image_mask.bool(),
        weights=_stack(weights),
        places=_pad(places, 0, left=False)[0],
        layers=layers,
        heads=heads,
        form=form,
    )


def _image_target(example: Example, seen: list[Seen], tokens: list[int]) -> tuple[list[int], torch.Tensor]:
    """(positions of the image tokens, weight of each) of the pictures that have boxes. ``tokens``: of all pictures."""
    import torch

    index: list[int] = []
    weights, start = [], 0
    for shown, picture in zip(example.images, seen, strict=True):
        if shown.loc_boxes:
            rows, columns = picture.frame.grid_hw
            first = start + picture.frame.skip
            index += tokens[first : first + rows * columns]
            size_hw = (shown.image.height, shown.image.width)
            weights.append(patch_weights(shown.loc_boxes, size_hw, picture.frame.grid_hw))
        start += picture.tokens
    return index, torch.cat(weights)


def _by_line(example: Example, seen: list[Seen]) -> tuple[list[torch.Tensor], dict[int, int]]:
    """(weights of the image tokens for each line with boxes of its own, line to its place; place 0: the question's)."""
    lines = [n for n, boxes in enumerate(example.loc_lines) if boxes and boxes != example.loc_boxes]
    size_hw, grid_hw = (example.image.height, example.image.width), seen[-1].frame.grid_hw
    own = [patch_weights(example.loc_lines[n], size_hw, grid_hw) for n in lines]
    return own, {line: place for place, line in enumerate(lines, 1)}


def _stack(weights: list[torch.Tensor]) -> torch.Tensor:
    """(S, N) of each example to (E, S, N), padded with 0."""
    import torch

    places, tokens = (max(found.shape[n] for found in weights) for n in (0, 1))
    pad = torch.nn.functional.pad
    return torch.stack([pad(found, (0, tokens - found.shape[1], 0, places - found.shape[0])) for found in weights])


def prompts(
    encoder: Encoder, pictures: Sequence[np.ndarray | Sequence[np.ndarray]], questions: list[str], mode: Mode
) -> dict[str, torch.Tensor]:
    """What ``model.generate`` takes: padded on the left, the assistant's turn begun with :data:`FORCED`.

    Args:
        pictures: for each question one picture, (H, W, 3) uint8, or several, oldest first.
    """
    import torch

    several = [_several(found) for found in pictures]
    sizes = [[(picture.shape[0], picture.shape[1]) for picture in found] for found in several]
    texts = [encoder.prompt(question, mode, found) for question, found in zip(questions, sizes, strict=True)]
    rows = [encoder.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    ids, mask = _pad(rows, encoder.tokenizer.pad_token_id, left=True)
    everything = [encoder.look(picture) for found in several for picture in found]
    return {"attention_mask": mask, **encoder.inputs(ids, torch.ones_like(mask, dtype=torch.bool), everything)}


def _several(pictures: np.ndarray | Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    return pictures if isinstance(pictures, (list, tuple)) else [pictures]  # type: ignore[list-item]


def _pad(rows: list[list[int]], value: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(len(row) for row in rows)
    out = torch.full((len(rows), width), value, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for n, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        out[n, place] = torch.tensor(row, dtype=torch.int64)
        mask[n, place] = 1
    return out, mask
