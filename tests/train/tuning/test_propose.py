"""What is tried next: the untuned values, then draws that no trial has had, from the trials alone."""

from __future__ import annotations

from medclm.config import Choice, TrainConfig
from medclm.train.tuning.propose import propose, size, study_of
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Trial

LISTED = Space(
    {"schedule.easy": Choice(values=[0.1, 0.2, 0.3])}, TrainConfig.model_validate({"schedule": {"easy": 0.3}})
)
RANGE = Space({"loss.localization": Choice(low=0.01, high=100, log=True)}, TrainConfig())


def trial(value: float, score: float | None = None, status: str = "running", key: str = "schedule.easy") -> Trial:
    history = ((10, score),) if score is not None else ()
    return Trial("t", {key: value}, status, 10 if history else 0, score, history)


def all_of(space: Space, search: str, seed: int, count: int) -> list[dict]:
    found: list[Trial] = []
    while len(found) < count and (values := propose(space, search, seed, found)) is not None:
        found.append(Trial("t", values, "running", 0, None))
    return [one.values for one in found]


def test_a_search_of_three_values_tries_each_once_and_ends():
    assert all_of(LISTED, "grid", 0, 9) == [{"schedule.easy": value} for value in (0.3, 0.1, 0.2)]
    drawn = all_of(LISTED, "random", 0, 9)
    assert drawn[0] == {"schedule.easy": 0.3}, "the untuned value first"
    assert sorted(values["schedule.easy"] for values in drawn) == [0.1, 0.2, 0.3]


def test_draws_are_repeatable_and_those_of_another_seed_are_others():
    assert all_of(RANGE, "random", 5, 4) == all_of(RANGE, "random", 5, 4)
    assert all_of(RANGE, "random", 5, 4)[1:] != all_of(RANGE, "random", 6, 4)[1:]
    drawn = [values["loss.localization"] for values in all_of(RANGE, "optuna", 1, 4)]
    assert len(set(drawn)) == 4
    assert all(0.01 <= value <= 100 for value in drawn)


def test_a_search_that_was_cut_off_goes_on_with_the_same_values():
    """Nothing but the trials decides: three known ones give the fourth of an uninterrupted search."""
    whole = all_of(RANGE, "random", 5, 4)
    known = [Trial("t", values, "stopped", 3, 0.5, ((3, 0.5),)) for values in whole[:3]]
    assert propose(RANGE, "random", 5, known) == whole[3]


def test_tpe_looks_where_it_was_good():
    """Twelve trials whose score falls with the distance from 1, on a scale of four decades."""
    key = "loss.localization"
    known = [trial(10 ** (n / 3 - 2), -abs(n - 6) / 6, "finished", key) for n in range(13)]
    drawn = [propose(RANGE, "optuna", seed, known)[key] for seed in range(12)]
    assert sum(0.1 <= value <= 10 for value in drawn) >= 10, "half of the range holds at least ten of twelve draws"


def test_the_study_knows_stopped_running_and_failed_trials():
    from optuna.trial import TrialState

    known = [trial(0.1, 0.4, "finished"), trial(0.2, 0.3, "stopped"), trial(0.3), trial(0.3, None, "failed")]
    study = study_of(LISTED, known, "max")
    states = [one.state for one in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING]
    assert study.best_value == 0.4
    assert study.trials[1].intermediate_values == {10: 0.3}
    assert study.trials[1].params == {"schedule.easy": 1}


def test_a_grid_has_one_more_trial_where_the_untuned_values_are_no_point_of_it():
    outside = Space({"loss.localization": Choice(low=0.03, high=3, points=2)}, TrainConfig())
    assert size(LISTED, "grid", 8) == 3
    assert size(outside, "grid", 8) == 3, "0.03, 3 and the untuned 1"
    assert size(LISTED, "random", 8) == 8
