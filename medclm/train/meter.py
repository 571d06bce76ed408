"""What a run says about itself: losses by stage and domain, attention inside the box, speed; summed over ranks."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from medclm.train.parallel import all_objects, all_sum
from medclm.train.views import STAGES

if TYPE_CHECKING:
    import torch

    from medclm.train.collate import Batch

Sums = dict[str, dict[str, tuple[float, float]]]
"""Domain, then stage: (sum of the examples' mean token losses, examples)."""
_NUMBERS = ("localization", "mass", "rows", "tokens", "padding", "images", "loss", "flops")


class Meter:
    """Sums since the last :meth:`flush`, and this rank's losses of the schedule's present window.

    Lives on the CPU, one a rank.
    """

    def __init__(self) -> None:
        self.window: Sums = {}
        self._reset()

    def _reset(self) -> None:
        import torch

        self._parts = torch.zeros(len(STAGES), 2, 2, dtype=torch.float64)  # stage, reasoning or answer, sum and count
        self._numbers = dict.fromkeys(_NUMBERS, 0.0)
        self._steps = 0
        self._drawn: Counter[str] = Counter()
        self._start = time.monotonic()

    def add(self, batch: Batch, seen: dict[str, Any], share: torch.Tensor, flops: float = 0.0) -> None:
        """One micro-batch: what :func:`medclm.train.losses.loss_of` saw, its share of the loss, its arithmetic."""
        import torch

        stages = torch.tensor([STAGES.index(example.stage) for example in batch.examples])
        place = stages[batch.owner.cpu()] * 2 + batch.is_answer.cpu()
        ce = seen["ce"].double().cpu()
        self._parts.view(-1, 2)[:, 0] += torch.bincount(place, weights=ce, minlength=2 * len(STAGES))
        self._parts.view(-1, 2)[:, 1] += torch.bincount(place, minlength=2 * len(STAGES))
        add_losses(self.window, batch, ce)
        self._drawn.update(f"{example.domain}/{example.stage}" for example in batch.examples)
        tokens = float(batch.attention_mask.sum())
        added = (
            float(seen["localization"]), float(seen["mass"]),
            float(batch.localize.row_mask.sum()) if batch.localize is not None else 0.0,
            tokens, batch.attention_mask.numel() - tokens, float(len(batch.examples)), float(share), flops,
        )  # fmt: skip
        for name, value in zip(_NUMBERS, added, strict=True):
            self._numbers[name] += value

    def step(self) -> None:
        self._steps += 1

    def take_window(self) -> Sums:
        """The losses of the window over all ranks, the same on each; the next window begins."""
        found = merged(all_objects(self.window))
        self.window = {}
        return found

    def flush(self) -> tuple[dict[str, float], dict[str, int]]:
        """Means over ranks and steps since the last flush, and how many examples each ``domain/stage`` had.

        Parts without a token are left out. Speeds are of all ranks together; ``tflops`` is of one.
        """
        import torch

        seconds = max(time.monotonic() - self._start, 1e-9)
        parts = all_sum(self._parts)
        drawn: Counter[str] = sum(all_objects(self._drawn), start=Counter())
        total = all_sum(torch.tensor([*self._numbers.values(), 1.0], dtype=torch.float64)).tolist()
        sums, ranks = dict(zip(_NUMBERS, total, strict=False)), total[-1]
        found = {
            "loss": sums["loss"] / max(1, self._steps),
            "tokens_per_s": sums["tokens"] / seconds,
            "images_per_s": sums["images"] / seconds,
            "padding": sums["padding"] / max(1.0, sums["padding"] + sums["tokens"]),
            "seconds_per_step": seconds / max(1, self._steps),
        }
        if sums["flops"]:
            found["tflops"] = sums["flops"] / seconds / ranks / 1e12
        if sums["rows"]:
            found["localization"], found["mass_in_box"] = (
                sums["localization"] / sums["rows"],
                sums["mass"] / sums["rows"],
            )
        examples = max(1, sum(drawn.values()))
        for n, stage in enumerate(STAGES):
            found[f"{stage}/share"] = sum(v for key, v in drawn.items() if key.endswith(f"/{stage}")) / examples
            for kind, name in enumerate(("reasoning", "answer")):
                if parts[n, kind, 1]:
                    found[f"{stage}/{name}"] = float(parts[n, kind, 0] / parts[n, kind, 1])
        self._reset()
        return found, dict(sorted(drawn.items()))


def add_losses(sums: Sums, batch: Batch, ce: torch.Tensor) -> None:
    """Adds each example's mean token loss to its domain and stage; ``ce`` (T,) float64 on the CPU."""
    import torch

    owner, count = batch.owner.cpu(), len(batch.examples)
    totals = torch.bincount(owner, weights=ce, minlength=count)
    means = (totals / torch.bincount(owner, minlength=count).clamp(min=1)).tolist()
    for example, mean in zip(batch.examples, means, strict=True):
        place = sums.setdefault(example.domain, {})
        before = place.get(example.stage, (0.0, 0.0))
        place[example.stage] = before[0] + mean, before[1] + 1.0


def merged(parts: list[Sums]) -> Sums:
    """The sum of several ranks' sums, added in their order."""
    out: Sums = {}
    for part in parts:
        for domain, stages in part.items():
            for stage, (total, count) in stages.items():
                before = out.setdefault(domain, {}).get(stage, (0.0, 0.0))
                out[domain][stage] = before[0] + total, before[1] + count
    return out
