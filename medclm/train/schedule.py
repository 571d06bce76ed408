"""Which stage an example of a step trains: a pure function of (schedule, seed, step, index)."""

from __future__ import annotations

import math
import random

from medclm.config import ScheduleConfig
from medclm.errors import UsageError
from medclm.train.views import STAGES, Stage


def stage_of(config: ScheduleConfig, steps: int, seed: int, step: int, index: int) -> Stage:
    """The stage of one example.

    ``fixed``: easy, then medium, then hard, split at the shares; in a later stage a ``floor`` share of the examples
    goes to the stages before. ``uniform``: each example draws its stage with the shares as probabilities.
    ``hard-only`` and ``cot-only`` (medium): one stage from the first step to the last.

    Args:
        steps: steps of the whole run.
        seed, step, index: the run's seed, the step from 0, the example's place in the global batch.
    """
    if config.name == "hard-only":
        return "hard"
    if config.name == "cot-only":
        return "medium"
    shares = (config.easy, config.medium, config.hard)
    rng = random.Random(f"{seed}/{step}/{index}")
    if config.name == "uniform":
        return STAGES[_place(shares, rng.random())]
    current = _place(shares, step / steps)
    before = [stage for stage in range(current) if shares[stage] > 0]
    return STAGES[rng.choice(before) if before and rng.random() < config.floor else current]


def _place(shares: tuple[float, ...], point: float) -> int:
    """Which share ``point`` (0 to 1) falls into."""
    total, reached = sum(shares), 0.0
    if total <= 0:
        raise UsageError("the shares of the schedule add up to nothing", got=shares, remedy="set schedule.easy, …")
    for stage, share in enumerate(shares):
        reached += share / total
        if point < reached and share > 0:
            return stage
    return max(stage for stage, share in enumerate(shares) if share > 0)


def learning_rate(step: int, steps: int, peak: float, min_share: float, warmup_share: float) -> float:
    """Linear warm-up, then cosine decay from ``peak`` to ``min_share * peak`` (SGDR, Loshchilov 2017, eq. 5)."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (min_share + (1 - min_share) * 0.5 * (1 + math.cos(math.pi * progress)))
