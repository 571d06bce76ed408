"""What a run says about itself: losses by stage, attention inside the box, speed; summed over ranks when asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from medclm.train.parallel import all_sum
from medclm.train.views import STAGES

if TYPE_CHECKING:
    import torch

    from medclm.train.collate import Batch


class Meter:
    """Sums since the last :meth:`flush`. Lives on the CPU, one a rank."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        import torch

        # (stage, reasoning or answer, sum or count), then: sum of L_loc, of mass, rows, tokens, loss, steps
        self._parts = torch.zeros(len(STAGES), 2, 2, dtype=torch.float64)
        self._more = torch.zeros(6, dtype=torch.float64)
        self._stages = torch.zeros(len(STAGES), dtype=torch.float64)
        self._start = time.monotonic()

    def add(self, batch: Batch, seen: dict[str, Any], share: torch.Tensor) -> None:
        """One micro-batch: what :func:`medclm.train.losses.loss_of` saw, and its share of the loss."""
        import torch

        stages = torch.tensor([STAGES.index(example.stage) for example in batch.examples])
        place = stages[batch.owner.cpu()] * 2 + batch.is_answer.cpu()
        self._stages += torch.bincount(stages, minlength=len(STAGES))
        ce = seen["ce"].double().cpu()
        self._parts.view(-1, 2)[:, 0] += torch.bincount(place, weights=ce, minlength=2 * len(STAGES))
        self._parts.view(-1, 2)[:, 1] += torch.bincount(place, minlength=2 * len(STAGES))
        rows = int(batch.localize.row_mask.sum()) if batch.localize is not None else 0
        tokens = int(batch.attention_mask.sum())
        self._more += torch.tensor([float(seen["localization"]), float(seen["mass"]), rows, tokens, float(share), 0])

    def step(self) -> None:
        self._more[5] += 1

    def flush(self) -> dict[str, float]:
        """Means over ranks and steps since the last flush; parts without a token are left out."""
        seconds = time.monotonic() - self._start
        steps = float(self._more[5])
        parts, more, stages = all_sum(self._parts), all_sum(self._more), all_sum(self._stages)
        found = {"loss": float(more[4]) / max(1.0, steps), "tokens_per_s": float(more[3]) / seconds}
        if more[2]:
            found["localization"], found["mass_in_box"] = float(more[0] / more[2]), float(more[1] / more[2])
        for n, stage in enumerate(STAGES):
            found[f"{stage}/share"] = float(stages[n] / stages.sum().clamp(min=1))
            for kind, name in enumerate(("reasoning", "answer")):
                if parts[n, kind, 1]:
                    found[f"{stage}/{name}"] = float(parts[n, kind, 0] / parts[n, kind, 1])
        self._reset()
        return found
