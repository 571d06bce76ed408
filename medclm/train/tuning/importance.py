"""How much of the difference between trials each parameter explains: fANOVA (Hutter et al., ICML 2014), by Optuna."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medclm.train.tuning.propose import study_of
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Trial

FEWEST = 6
"""Trials below which a share would say nothing."""
REACHED = 0.75


@dataclass(frozen=True)
class Importance:
    """Shares of the variance.

    Attributes:
        step: at which the trials are compared: the last that :data:`REACHED` of them reached.
        trials: how many reached it.
        shares: key to share, 0 to 1, adding up to 1, the largest first; empty where there is nothing to explain.
    """

    step: int
    trials: int
    shares: dict[str, float]


def importance(space: Space, trials: tuple[Trial, ...], seed: int = 0) -> Importance:
    """Importance of each parameter for the metric at an equal step. Trials whose values changed are left out."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    fixed = [t for t in trials if t.history and len(t.generations) <= 1]
    step = common_step(fixed)
    there = [replace(t, score=dict(t.history)[step], status="finished", history=())
             for t in fixed if step in dict(t.history)]  # fmt: skip
    scores = {t.score for t in there}
    if len(there) < FEWEST or len(scores) < 2 or len(space.space) < 2:
        return Importance(step, len(there), {})
    study = study_of(space, there, "max")
    return Importance(step, len(there), get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed)))


def common_step(trials: list[Trial]) -> int:
    """The last step that at least :data:`REACHED` of the trials were measured at; 0 without any."""
    steps = sorted({step for trial in trials for step, _ in trial.history}, reverse=True)
    counts = {step: sum(step in dict(trial.history) for trial in trials) for step in steps}
    return next((step for step in steps if counts[step] >= REACHED * len(trials)), 0)
