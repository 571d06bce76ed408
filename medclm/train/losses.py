"""The training loss: weighted cross-entropies and L_loc, as means over the whole global batch (METHOD section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclm.train import localize

if TYPE_CHECKING:
    import torch

    from medclm.train.collate import Batch

PARTS = ("answer", "reasoning", "localization")


@dataclass(frozen=True)
class Weights:
    """Weights of the loss. ``answer`` and ``reasoning`` hold where there is reasoning; an answer alone weighs 1."""

    answer: float = 0.8
    reasoning: float = 0.2
    localization: float = 1.0


def counts(batches: list[Batch]) -> torch.Tensor:
    """(3,) float64: answer tokens, reasoning tokens and supervised attention rows of these batches."""
    import torch

    total = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        answers = int(batch.is_answer.sum())
        rows = int(batch.localize.row_mask.sum()) if batch.localize is not None else 0
        total += torch.tensor([answers, len(batch.is_answer) - answers, rows], dtype=torch.float64)
    return total


def loss_of(model: Any, batch: Batch, total: torch.Tensor, weights: Weights) -> tuple[torch.Tensor, dict[str, Any]]:
    """This batch's share of the global loss, and what to log.

    Args:
        model: called once; logits are made at the target rows only.
        total: (3,) from :func:`counts` of the global batch (all ranks, all accumulation steps).

    Returns:
        The share: shares of all batches add up to ``sum_parts weight * mean over the global batch``. And a dict:
        ``ce`` (T,) of each target token, ``mass`` and ``localization`` sums over rows, without gradient.
    """
    import torch

    extra = {"localize": batch.localize} if batch.localize is not None else {}
    logits = model(**batch.inputs, logits_to_keep=batch.keep, use_cache=False, **extra).logits
    ce = torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
    explained = torch.zeros(len(batch.examples), dtype=torch.bool, device=ce.device)
    explained[batch.owner[~batch.is_answer]] = True
    answer_weight = torch.where(explained[batch.owner], weights.answer, 1.0)
    share = (ce * answer_weight * batch.is_answer).sum() / max(1.0, float(total[0]))
    share = share + weights.reasoning * (ce * ~batch.is_answer).sum() / max(1.0, float(total[1]))
    seen: dict[str, Any] = {"ce": ce.detach(), "localization": 0.0, "mass": 0.0}
    if batch.localize is not None:
        loc, mass = localize.total(batch.localize)
        share = share + weights.localization * loc / max(1.0, float(total[2]))
        seen.update(localization=loc.detach(), mass=mass)
    return share, seen


def not_finite_rows(batch: Batch, seen: dict[str, Any]) -> list[str]:
    """Keys of the examples whose loss is not finite; ``seen`` from :func:`loss_of`."""
    import torch

    owners = batch.owner[~torch.isfinite(seen["ce"])].tolist()
    if batch.localize is not None:
        rows = localize.by_row(batch.localize.found).detach()
        broken = ~torch.isfinite(rows.masked_fill(~batch.localize.row_mask, 0.0)).all(1)
        owners += batch.localize.examples[broken].tolist()
    return [batch.examples[owner].key for owner in sorted(set(owners))]
