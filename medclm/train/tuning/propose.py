"""The next values to try: a pure function of the space, the seed and what was tried before.

Random draws and TPE (Bergstra et al., NeurIPS 2011; also from runs that were stopped early, and aware of those that
still run) are Optuna's samplers over a study that is made from the trials each time, so a search that was killed goes
on from its trials alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medclm.train.tuning.space import Space

if TYPE_CHECKING:
    import optuna

    from medclm.train.tuning.trials import Trial

REDRAWS = 50
"""How often values that were tried already are drawn anew before the space counts as used up."""


def propose(space: Space, search: str, seed: int, trials: list[Trial], mode: str = "max") -> dict[str, Any] | None:
    """Values that no trial has had, or None when there are none left.

    The untuned values come first where the space has them; the order of a grid is otherwise its own.

    Args:
        search: ``random``, ``grid``, ``optuna`` or ``pbt`` (whose first values are random).
        trials: all trials so far, running ones too.
        mode: ``max`` or ``min``: of the metric that ``optuna`` learns from.
    """
    tried = [trial.values for trial in trials]
    if (start := space.start()) is not None and not trials:
        return start
    if search == "grid":
        return next((values for values in space.grid() if values not in tried), None)
    for attempt in range(REDRAWS):
        values = _draw(space, search, f"{seed}/{len(trials)}/{attempt}", trials, mode)
        if values not in tried:
            return values
    return None


def size(space: Space, search: str, trials: int) -> int:
    """How many trials a search has: a grid with the untuned values first, where they are no point of it."""
    if search != "grid":
        return trials
    grid, start = space.grid(), space.start()
    return len(grid) + (start is not None and start not in grid)


def study_of(space: Space, trials: list[Trial], mode: str, sampler: Any = None) -> optuna.Study:
    """The trials as an Optuna study. A stopped trial is a pruned one with its intermediate values."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize", sampler=sampler)
    for trial in trials:
        state = _state(trial)
        if state is None:
            continue
        complete = state is optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=trial.score if complete else None,
                params=space.encode(trial.values),
                distributions=space.distributions(),
                intermediate_values=dict(trial.history),
            )
        )
    return study


def _state(trial: Trial) -> Any:
    """Optuna's state of a trial; None for one that says nothing (it failed)."""
    from optuna.trial import TrialState

    if trial.status == "failed":
        return None
    if trial.status == "running":
        return TrialState.RUNNING
    return TrialState.COMPLETE if trial.status == "finished" and trial.score is not None else TrialState.PRUNED


def _draw(space: Space, search: str, seed: str, trials: list[Trial], mode: str) -> dict[str, Any]:
    import hashlib

    import optuna

    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    if search == "optuna":
        sampler: Any = optuna.samplers.TPESampler(seed=number, n_startup_trials=STARTUP, constant_liar=True)
        study = study_of(space, trials, mode, sampler)
    else:
        study = study_of(space, [], mode, optuna.samplers.RandomSampler(seed=number))
    return space.decode(study.ask(fixed_distributions=space.distributions()).params)


STARTUP = 4
"""Trials before TPE begins to model; until then it draws at random."""
