"""``competence``: a domain moves from Easy to Medium to Hard when Medium has caught up with Easy (METHOD section 3).

Medium is the harder view, so the gap (medium - easy) / easy starts high and falls. A domain moves on when the gap is
small and flat, or has stayed flat for long (Medium will not come closer), or after the longest time allowed; never
before the shortest. It never moves back, keeps a floor in every stage that it has entered, and ends in the configured
mixture. Hard's share shrinks while Medium's loss is above its best, and grows back afterwards.

State: ``{"domains": {domain: {stage, since, easy, medium, gap, slope, caught, level, seen, hard, best, why}}}``; the
domain ``*`` is all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medclm.config import ScheduleConfig

ALL = "*"
GROW = 1 / 9
"""Hard's lost share comes back by this factor a window: one shrink by a tenth is undone by one growth."""
_NEW: dict[str, Any] = {
    "stage": 0, "since": 0, "easy": None, "medium": None, "gap": None, "slope": None,
    "caught": 0, "level": 0, "seen": 0.0, "hard": 1.0, "best": None, "why": "",
}  # fmt: skip


def shares(
    config: ScheduleConfig, steps: int, state: dict[str, Any], step: int, domain: str, given: tuple[float, ...]
) -> tuple[float, float, float]:
    """The mixture of ``domain`` at ``step``; ``given`` is the one of the settings, adding up to 1."""
    domains = state.get("domains", {})
    own = domains.get(domain)
    if own is None or own["seen"] < config.least_seen:
        own = domains.get(ALL, _NEW)
    goal = _mixture(config, own["stage"], own["hard"], given)
    if own["stage"] == 0 or config.ramp == 0:
        return goal
    before = _mixture(config, own["stage"] - 1, own["hard"], given)
    faded = min(max((step - own["since"]) / (config.ramp * steps), 0.0), 1.0)
    mixed = [a + (b - a) * faded for a, b in zip(before, goal, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def _mixture(config: ScheduleConfig, stage: int, hard: float, given: tuple[float, ...]) -> tuple[float, float, float]:
    """The full mixture of a stage; ``hard`` is what is left of Hard's share, 0 to 1."""
    easy, medium, last = given
    if stage == 0:
        return 1 - config.floor, config.floor, 0.0
    last = last * hard if stage == 2 else 0.0
    both = easy + medium
    easy = easy / both if both else 0.5
    low = min(config.floor / max(1 - last, 1e-9), 0.5)
    easy = min(max(easy, low), 1 - low)
    return easy * (1 - last), (1 - easy) * (1 - last), last


def observe(
    config: ScheduleConfig, steps: int, state: dict[str, Any], step: int,
    losses: Mapping[str, Mapping[str, tuple[float, float]]],
) -> dict[str, Any]:  # fmt: skip
    """The state after a window that ended before ``step``."""
    domains = dict(state.get("domains", {}))
    for domain, found in {ALL: _together(losses), **losses}.items():
        new = _seen(config, domains.get(domain, _NEW), found)
        if domain != ALL and new["seen"] < config.least_seen:
            domains[domain] = new | {key: domains[ALL][key] for key in ("stage", "since", "hard")}
        else:
            domains[domain] = _moved(config, steps, step, new)
    return {"domains": domains}


def _together(losses: Mapping[str, Mapping[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    both: dict[str, tuple[float, float]] = {}
    for found in losses.values():
        for stage, (total, count) in found.items():
            before = both.get(stage, (0.0, 0.0))
            both[stage] = before[0] + total, before[1] + count
    return both


def _seen(config: ScheduleConfig, domain: dict[str, Any], found: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """``domain`` with its running means and the gap brought up to date."""
    new = dict(domain)
    for stage in ("easy", "medium"):
        total, count = found.get(stage, (0.0, 0.0))
        if count:
            new["seen"] = new["seen"] + count
            new[stage] = _mean(config, domain[stage], total / count)
    if new["easy"] is None or new["medium"] is None:
        return new
    new["gap"] = (new["medium"] - new["easy"]) / max(new["easy"], 1e-6)
    if domain["gap"] is not None:
        new["slope"] = _mean(config, domain["slope"], new["gap"] - domain["gap"])
    flat = new["slope"] is not None and abs(new["slope"]) <= config.flat
    new["level"] = domain["level"] + 1 if flat else 0
    new["caught"] = domain["caught"] + 1 if flat and new["gap"] <= config.threshold else 0
    if domain["stage"] == 2:
        new["best"] = new["medium"] if domain["best"] is None else min(domain["best"], new["medium"])
        worse = new["medium"] > (1 + config.backoff) * new["best"]
        new["hard"] = domain["hard"] * 0.9 if worse else min(1.0, domain["hard"] * (1 + GROW))
    return new


def _mean(config: ScheduleConfig, before: float | None, value: float) -> float:
    return value if before is None else config.history * before + (1 - config.history) * value


def _moved(config: ScheduleConfig, steps: int, step: int, domain: dict[str, Any]) -> dict[str, Any]:
    """``domain`` one stage on, where it is due; ``why`` says for which reason."""
    spent = (step - domain["since"]) / steps
    if domain["stage"] == 2 or spent < config.shortest:
        return domain
    if domain["caught"] >= config.patience:
        why = "caught up"
    elif domain["level"] >= config.plateau:
        why = "plateau"
    elif spent >= config.longest:
        why = "longest time"
    else:
        return domain
    return {**domain, "stage": domain["stage"] + 1, "since": step, "caught": 0, "level": 0, "why": why}
