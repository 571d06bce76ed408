"""Importance: the parameter that decides gets the share."""

from __future__ import annotations

from medclm.config import Choice, TrainConfig
from medclm.train.tuning.importance import common_step, importance
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Trial

SPACE = Space(
    {"schedule.easy": Choice(low=0, high=1), "loss.localization_form": Choice(values=["mass", "kl"])}, TrainConfig()
)


def trial(n: int, score: float, steps: tuple[int, ...] = (10, 20)) -> Trial:
    values = {"schedule.easy": n / 16, "loss.localization_form": "mass" if n % 3 else "kl"}
    return Trial(f"t{n}", values, "finished", steps[-1], score, tuple((step, score) for step in steps))


def test_the_parameter_that_decides_has_nearly_all():
    found = importance(SPACE, tuple(trial(n, n / 16) for n in range(16)))
    assert found.step == 20
    assert found.trials == 16
    assert next(iter(found.shares)) == "schedule.easy"
    assert found.shares["schedule.easy"] > 0.85
    assert abs(sum(found.shares.values()) - 1) < 1e-9


def test_trials_are_compared_where_three_quarters_of_them_came():
    trials = [trial(0, 0.1), trial(1, 0.2), trial(2, 0.3, (10,)), trial(3, 0.4)]
    assert common_step(trials) == 20
    assert common_step([*trials, trial(4, 0.5, (10,))]) == 10
    assert common_step([]) == 0


def test_nothing_is_said_of_few_trials_or_equal_ones():
    assert importance(SPACE, tuple(trial(n, n / 16) for n in range(5))).shares == {}
    assert importance(SPACE, tuple(trial(n, 0.5) for n in range(16))).shares == {}
