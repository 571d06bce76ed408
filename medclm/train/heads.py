"""Heads chosen by measurement: those that look most at the picture (A3Tune, ACL 2025), after a warm-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medclm.errors import MedclmError
from medclm.train import localize

if TYPE_CHECKING:
    import torch

    from medclm.train.encode import Encoder
    from medclm.train.views import Example

Score = tuple[int, int, float]
"""(layer, head, share of its attention that goes to image tokens)."""


@dataclass
class Probe:
    """Measures, in every layer and head, how much of the target rows' attention goes to image tokens.

    Attributes:
        rows: (B, L) bool, positions that are measured.
        images: (B, L) bool, image tokens.
        found: a layer's (heads,) float64, summed over rows.
    """

    rows: torch.Tensor
    images: torch.Tensor
    found: dict[int, torch.Tensor] = field(default_factory=dict)

    def observe(self, seen: localize.Seen) -> None:
        """One example after the other: rows x L scores at a time, never L x L."""
        import torch

        groups = seen.query.shape[1] // seen.key.shape[1]
        sums = torch.zeros(seen.query.shape[1], dtype=torch.float64, device=seen.query.device)
        for n in range(len(self.rows)):
            rows = self.rows[n].nonzero()[:, 0]
            key = seen.key[n].repeat_interleave(groups, 0)
            scores = (seen.query[n][:, rows] @ key.transpose(-1, -2)).float() * seen.scaling
            hidden = ~_sees(seen, n, rows)
            attention = scores.masked_fill(hidden, torch.finfo(torch.float32).min).softmax(-1)
            sums += attention[:, :, self.images[n]].sum(dim=(1, 2)).double()
        self.found[seen.layer] = sums


def _sees(seen: localize.Seen, example: int, rows: torch.Tensor) -> torch.Tensor:
    """(R, L) bool: keys that each row attends to."""
    import torch

    if seen.mask is not None:
        return localize.is_open(seen.mask[example, 0, rows])
    gap = rows[:, None] - torch.arange(seen.key.shape[2], device=rows.device)
    return (gap >= 0) & (gap < seen.window) if seen.window else gap >= 0


def rank_heads(model: Any, encoder: Encoder, examples: Sequence[Example], batch_size: int = 8) -> list[Score]:
    """Every layer and head, the one that looks most at the picture first.

    Args:
        model: the model, its attention made observable here if it is not yet.
        examples: what to measure on; a few dozen are enough, with their boxes or without.
        batch_size: examples of a forward pass.

    Raises:
        MedclmError: there is no example.
    """
    import torch

    from medclm.train.collate import collate

    if not examples:
        raise MedclmError("heads cannot be measured without examples", remedy="give some rows of the training data")
    localize.install(model, (), ())
    sums: dict[tuple[int, int], float] = defaultdict(float)
    device, rows, mode = next(model.parameters()).device, 0, model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(examples), batch_size):
            batch = collate(encoder, list(examples[start : start + batch_size])).to(device)
            probe = Probe(batch.keep, batch.inputs["input_ids"] == encoder.image_token_id)
            model(**batch.inputs, logits_to_keep=1, use_cache=False, localize=probe)
            rows += int(batch.keep.sum())
            for layer, found in probe.found.items():
                for head, value in enumerate(found.tolist()):
                    sums[layer, head] += value
    model.train(mode)
    scores = [(layer, head, total / rows) for (layer, head), total in sums.items()]
    return sorted(scores, key=lambda score: (-score[2], score[0], score[1]))


def choose_heads(scores: Sequence[Score], count: int) -> dict[int, tuple[int, ...]]:
    """The ``count`` best heads of :func:`rank_heads`: for each layer that has one, its heads, both in rising order.

    Raises:
        MedclmError: there are fewer heads.
    """
    if not 1 <= count <= len(scores):
        raise MedclmError(
            "there are not so many heads to choose",
            expected=f"1 to {len(scores)}",
            got=count,
            remedy="ask for fewer heads",
        )
    chosen: dict[int, list[int]] = defaultdict(list)
    for layer, head, _ in sorted(scores, key=lambda score: (-score[2], score[0], score[1]))[:count]:
        chosen[layer].append(head)
    return {layer: tuple(sorted(chosen[layer])) for layer in sorted(chosen)}
