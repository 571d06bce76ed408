"""The settings of ``medclm tune``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medclm.config.base import Config
from medclm.config.train import TrainConfig


class Choice(Config):
    """One searched parameter: a list of values, or a range (log-uniform when ``log``)."""

    values: list[Any] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False


class TuneConfig(Config):
    """``medclm tune``: the searched space over a :class:`TrainConfig`."""

    train: TrainConfig = TrainConfig()
    space: dict[str, Choice] = {
        "schedule.easy": Choice(low=0.0, high=0.6),
        "schedule.hard": Choice(low=0.0, high=0.6),
        "loss.localization": Choice(low=0.03, high=3.0, log=True),
    }
    search: Literal["random", "optuna"] = "random"
    """How values are drawn: independently, or by Optuna's TPE from the trials before."""
    trials: int = Field(8, ge=1)
    concurrent: int = Field(1, ge=1)
    grace_steps: int = Field(100, ge=1)
    reduction_factor: int = Field(2, ge=2)
    metric: str = "accuracy"
    mode: Literal["max", "min"] = "max"
    seed: int = 0
