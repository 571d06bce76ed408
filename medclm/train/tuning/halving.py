"""When a trial is stopped early: asynchronous successive halving at equal steps, with grace for a harder stage.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), in the form that stops: a trial that
reaches a rung goes on when it is among the best 1/factor of those that have reached it. What is compared is what both
measured at the same step on the same held-out questions. A trial that has just entered a harder stage is judged later,
at its first evaluation after the grace, against what the others had at that step: those that were stopped before count
as behind it. No Ray in here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medclm.train.tuning.trials import Trial


def rungs(grace_steps: int, factor: int, steps: int) -> list[int]:
    """``grace_steps``, then each ``factor`` times the one before, below ``steps``."""
    found = []
    while grace_steps < steps:
        found.append(grace_steps)
        grace_steps *= factor
    return found


def survivors(trials: list[Trial], step: int, factor: int, stage_grace_steps: int = 0, mode: str = "max") -> set[str]:
    """Who goes on after a round: the best 1/factor of those measured at ``step``, at least one, the earlier of equals.

    Synchronous successive halving (Jamieson and Talwalkar, AISTATS 2016). All go on where all are equal; so does a
    trial that entered a harder stage less than ``stage_grace_steps`` ago, beside the others. A pure function of what
    was measured, so that a round that is looked at again says the same.
    """
    sign = 1 if mode == "max" else -1
    scores = {t.name: sign * dict(t.history)[step] for t in trials if t.status != "failed" and step in dict(t.history)}
    if len(set(scores.values())) <= 1:
        return set(scores)
    ranked = sorted(scores, key=lambda name: (-scores[name], name))
    fresh = {t.name for t in trials if t.name in scores and step - stage_entered(t, step) < stage_grace_steps}
    return set(ranked[: max(1, len(ranked) // factor)]) | fresh


def stage_entered(trial: Trial, step: int) -> float:
    """The first measured step of the hardest stage that a trial had trained by ``step``; minus infinity for Easy."""
    seen = [(at, stage) for at, *parts in trial.shares if at <= step for stage, share in enumerate(parts) if share > 0]
    hardest = max((stage for _, stage in seen), default=0)
    return min((at for at, stage in seen if stage == hardest), default=0) if hardest else -math.inf


class Halving:
    """The scores of all trials by step, and which rungs a trial has been judged at.

    Args:
        grace_steps: the first rung; each further one is ``factor`` times the one before, below ``steps``.
        factor: the share that goes on is 1/factor, at least one trial.
        steps: of a whole run; nothing is judged there.
        stage_grace_steps: steps from entering a harder stage to being judged.
        mode: ``max`` or ``min``.
    """

    def __init__(self, grace_steps: int, factor: int, steps: int, stage_grace_steps: int = 0, mode: str = "max"):
        self.rungs = rungs(grace_steps, factor, steps)
        self.factor, self.steps, self.stage_grace_steps = factor, steps, stage_grace_steps
        self.sign = 1 if mode == "max" else -1
        self.scores: dict[str, dict[int, float]] = {}
        self._stage: dict[str, tuple[int, int]] = {}
        self._judged: dict[str, int] = {}

    def keep(self, trial: str, step: int, score: float, stage: int = 0) -> bool:
        """Records a measurement and says whether the trial goes on.

        Args:
            step: steps done.
            score: the metric there.
            stage: the hardest that the trial has trained so far: 0 easy, 1 medium, 2 hard.
        """
        self.scores.setdefault(trial, {})[step] = score
        hardest, entered = self._stage.get(trial, (stage, 0))
        if stage > hardest:
            hardest, entered = stage, step
        self._stage[trial] = hardest, entered
        due = [rung for rung in self.rungs if rung <= step]
        if step >= self.steps or len(due) <= self._judged.get(trial, 0):
            return True
        if entered and step - entered < self.stage_grace_steps:
            return True
        self._judged[trial] = len(due)
        return self._among_the_best(trial, due[-1], step)

    def _among_the_best(self, trial: str, rung: int, step: int) -> bool:
        own = self.sign * self.scores[trial][step]
        reached = [name for name, scores in self.scores.items() if max(scores) >= rung]
        better = sum(
            self.sign * scores[step] > own for name, scores in self.scores.items() if name != trial and step in scores
        )
        return better < max(1, len(reached) // self.factor)
