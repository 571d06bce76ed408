"""``paper``: the published scheduling rule, to the letter, so that it can be compared (METHOD section 3).

With e the epoch and m the running mean of a stage's loss in domain d (a tenth on history, as published):
g = (m_easy - m_medium) / m_easy; P(medium) = clip((e - 4) / 10, 0, 1) * sigmoid((g - 0.5) / 0.1); Easy only before
epoch 4; from epoch 19 Hard with probability lambda_H, which starts at 0, grows by 0.05 up to 0.3 on a plateau with
median g >= 0.6 and shrinks to 0.9 of itself when the loss rises by 0.05. An unvisited stage has m = 0.

Medium is the harder view, so g is at most 0 after Medium's first visits: Medium collapses and Hard never begins.

State: ``{"epoch", "sums": {domain: {stage: [sum, count]}}, "means": {domain: {stage: m}}, "hard", "loss"}``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from medclm.config import ScheduleConfig

HISTORY = 0.1
FIRST_MEDIUM, RAMP, FIRST_HARD = 4, 10, 19
MOST_HARD, MORE_HARD, LESS_HARD = 0.3, 0.05, 0.9
PLATEAU = 0.01
"""Change of the mean loss from one epoch to the next that still counts as a plateau."""
RISE = 0.05


def shares(
    config: ScheduleConfig, steps: int, state: dict[str, Any], step: int, domain: str
) -> tuple[float, float, float]:
    """The mixture of ``domain`` at ``step``."""
    epoch = step * config.epochs // steps
    if epoch < FIRST_MEDIUM:
        return 1.0, 0.0, 0.0
    hard = state.get("hard", 0.0) if epoch >= FIRST_HARD else 0.0
    ramp = min(max((epoch - FIRST_MEDIUM) / RAMP, 0.0), 1.0)
    medium = ramp / (1 + math.exp(-(gap(state, domain) - 0.5) / 0.1))
    return (1 - hard) * (1 - medium), (1 - hard) * medium, hard


def gap(state: dict[str, Any], domain: str) -> float:
    """g of a domain: the share of Easy's loss that Medium's is below it."""
    means = state.get("means", {}).get(domain, {})
    easy = means.get("easy", 0.0)
    return (easy - means.get("medium", 0.0)) / easy if easy > 0 else 0.0


def observe(
    config: ScheduleConfig, steps: int, state: dict[str, Any], step: int,
    losses: Mapping[str, Mapping[str, tuple[float, float]]],
) -> dict[str, Any]:  # fmt: skip
    """The state after a window that ended before ``step``. An epoch ends with the window that reaches its end."""
    sums = {domain: {stage: list(pair) for stage, pair in found.items()} for domain, found in
            state.get("sums", {}).items()}  # fmt: skip
    for domain, found in losses.items():
        for stage, (total, count) in found.items():
            place = sums.setdefault(domain, {}).setdefault(stage, [0.0, 0.0])
            place[0], place[1] = place[0] + total, place[1] + count
    epoch = step * config.epochs // steps
    state = {"epoch": 0, "means": {}, "hard": 0.0, "loss": None, **state, "sums": sums}
    return state if epoch == state["epoch"] else _epoch_end(state, epoch)


def _epoch_end(state: dict[str, Any], epoch: int) -> dict[str, Any]:
    means = {domain: dict(found) for domain, found in state["means"].items()}
    for domain, found in state["sums"].items():
        for stage, (total, count) in found.items():
            if count:
                before = means.setdefault(domain, {}).get(stage)
                new = total / count
                means[domain][stage] = new if before is None else HISTORY * before + (1 - HISTORY) * new
    pairs = [pair for found in state["sums"].values() for pair in found.values()]
    loss = sum(total for total, _ in pairs) / max(1.0, sum(count for _, count in pairs))
    new_state = {**state, "epoch": epoch, "sums": {}, "means": means, "loss": loss}
    if epoch > FIRST_HARD and state["loss"] is not None:
        new_state["hard"] = _hard(state["hard"], loss - state["loss"], [gap(new_state, domain) for domain in means])
    return new_state


def _hard(hard: float, change: float, gaps: list[float]) -> float:
    if change >= RISE:
        return hard * LESS_HARD
    if abs(change) <= PLATEAU and statistics.median(gaps) >= 0.6:
        return min(MOST_HARD, hard + MORE_HARD)
    return hard
