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
    points: int = Field(3, ge=2)
    """How many values of a range a grid has, both ends among them."""


class PopulationConfig(Config):
    """Population-based training: every ``interval_steps`` the worst copy the best and change its values a little."""

    interval_steps: int = Field(100, ge=1)
    quantile: float = Field(0.25, gt=0, le=0.5)
    """Share of the population that copies, and share that is copied."""
    resample: float = Field(0.25, ge=0, le=1)
    """How likely a value is drawn anew; otherwise it is multiplied by 0.8 or 1.2."""


class CompareConfig(Config):
    """The last step: the untuned and the found configuration, trained again and asked the held-out test questions."""

    seeds: tuple[int, ...] = (1,)
    """Both are trained with each of these seeds. None: no comparison."""
    questions: int = Field(300, ge=1)
    """At most so many of the test split."""


class TuneConfig(Config):
    """``medclm tune``: the searched space over a :class:`TrainConfig`."""

    train: TrainConfig = TrainConfig()
    space: dict[str, Choice] = {
        "schedule.threshold": Choice(low=0.02, high=0.3, log=True),
        "schedule.longest": Choice(low=0.15, high=0.5),
        "schedule.hard": Choice(low=0.0, high=0.6),
        "loss.localization": Choice(low=0.03, high=3.0, log=True),
    }
    search: Literal["random", "grid", "optuna", "pbt"] = "random"
    """How values are found: drawn independently, every combination, Optuna's TPE, or population-based training."""
    trials: int = Field(8, ge=1)
    """How many; the population of ``pbt``. A grid has as many as it has. More of them continue a finished search."""
    concurrent: int = Field(1, ge=1)
    """Trials side by side, as far as the cluster has room. ``pbt`` runs its whole population."""
    stopping: Literal["halving", "asha", "none"] = "halving"
    """How bad trials are stopped early. ``halving``: in rounds; all wait at a rung, the best go on from their
    checkpoints: fewer steps, and the same result in any order, but workers start anew each round. ``asha``: each is
    judged when it reaches a rung, against those that came before it; nobody waits. ``pbt`` stops none."""
    grace_steps: int = Field(100, ge=1)
    """Steps before a trial can be stopped: the first of the rungs, each ``reduction_factor`` times the one before."""
    reduction_factor: int = Field(2, ge=2)
    stage_grace_steps: int = Field(50, ge=0)
    """Steps that a trial has in a harder stage before it is judged; at equal steps with the others, as always."""
    population: PopulationConfig = PopulationConfig()
    compare: CompareConfig = CompareConfig()
    metric: str = "accuracy"
    mode: Literal["max", "min"] = "max"
    seed: int = 0
    worker_cpus: float = Field(1.0, gt=0)
    """CPUs that a training worker reserves; a fraction packs more trials on a machine."""
    worker_gpus: float = Field(1.0, gt=0)
    """GPUs that a training worker reserves where the cluster has GPUs; a fraction puts several trials on one."""
    max_failures: int = Field(2, ge=0)
    """How often a trial whose process died is started again, from its last checkpoint."""
