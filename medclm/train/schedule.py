"""Which stage an example trains, as pure functions of (settings, seed, step, place, domain, state).

Time is cut into windows of steps. What the window's examples cost, by domain and stage, is told to :func:`observe`
once a window; the mixture of a later window follows from the state that it returns. The state is small and plain, is
the same on every rank, and goes into the checkpoint. The rules that learn from losses are in
:mod:`medclm.train.competence` and :mod:`medclm.train.paper`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from medclm.config import ScheduleConfig
from medclm.errors import UsageError
from medclm.train import competence, paper
from medclm.train.views import STAGES, Stage

Shares = tuple[float, float, float]
"""Of easy, medium and hard; they add up to 1."""
Losses = Mapping[str, Mapping[str, tuple[float, float]]]
"""Domain, then stage: (sum of the losses, how many)."""
State = dict[str, Any]
"""What a rule remembers, as JSON can hold it; ``{}`` at the beginning."""


def window_of(config: ScheduleConfig, steps: int) -> int:
    """Steps of a window."""
    return config.window or min(max(steps // 25, 8), 200)


def shares(config: ScheduleConfig, steps: int, state: State, step: int, domain: str) -> Shares:
    """The mixture that an example of ``domain`` draws its stage from at ``step``.

    Args:
        steps: of the whole run.
        state: from :func:`observe`; only ``competence`` and ``paper`` look at it.
        step: from 0.

    Raises:
        UsageError: the shares of the settings add up to nothing.
    """
    given = normalised(config)
    if config.name == "hard-only":
        return 0.0, 0.0, 1.0
    if config.name == "cot-only":
        return 0.0, 1.0, 0.0
    if config.name == "uniform":
        return given
    if config.name == "competence":
        return competence.shares(config, steps, state, step, domain, given)
    if config.name == "paper":
        return paper.shares(config, steps, state, step, domain)
    return _fixed(given, step / steps, config.floor, backwards=config.name == "reversed")


def stage_of(mixture: Shares, seed: int, step: int, place: int) -> Stage:
    """The stage of one example: its own draw, a function of (seed, step, place in the global batch)."""
    point, reached = random.Random(f"{seed}/{step}/{place}").random(), 0.0
    for stage, share in zip(STAGES, mixture, strict=True):
        reached += share
        if point < reached and share > 0:
            return stage
    return max(zip(mixture, STAGES, strict=True))[1]


def observe(config: ScheduleConfig, steps: int, state: State, step: int, train: Losses, held_out: Losses) -> State:
    """The state after a window.

    Args:
        step: the first step after the window.
        train: losses of the window's examples, over all ranks.
        held_out: losses of the held-out questions after it; empty where there are none.
    """
    if config.name == "competence":
        return competence.observe(config, steps, state, step, held_out or train)
    if config.name == "paper":
        return paper.observe(config, steps, state, step, train)
    return state


def normalised(config: ScheduleConfig) -> Shares:
    """The shares of the settings, adding up to 1."""
    given = (config.easy, config.medium, config.hard)
    if sum(given) <= 0:
        raise UsageError("the shares of the schedule add up to nothing", got=given, remedy="set schedule.easy, …")
    return tuple(share / sum(given) for share in given)  # type: ignore[return-value]


def _fixed(given: Shares, point: float, floor: float, backwards: bool) -> Shares:
    """One stage after the other; ``floor`` of the examples, equally, to the stages before the present one."""
    order = [stage for stage in (2, 1, 0) if given[stage] > 0] if backwards else [n for n in range(3) if given[n] > 0]
    reached, current = 0.0, len(order) - 1
    for place, stage in enumerate(order):
        reached += given[stage]
        if point < reached:
            current = place
            break
    mixture = [0.0, 0.0, 0.0]
    for stage in order[:current]:
        mixture[stage] = floor / current
    mixture[order[current]] = 1.0 - (floor if current else 0.0)
    return mixture[0], mixture[1], mixture[2]


def learning_rate(step: int, steps: int, peak: float, min_share: float, warmup_share: float) -> float:
    """Linear warm-up, then cosine decay from ``peak`` to ``min_share * peak`` (SGDR, Loshchilov 2017, eq. 5)."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (min_share + (1 - min_share) * 0.5 * (1 + math.cos(math.pi * progress)))
