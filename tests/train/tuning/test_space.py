"""The searched space: what is refused, what can be drawn, and how values go back into a configuration."""

from __future__ import annotations

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from medclm.config import Choice, TrainConfig
from medclm.errors import UsageError
from medclm.train.tuning.space import Space, applied, merge, nested


@pytest.mark.parametrize(
    ("key", "choice", "message"),
    [
        ("schedule.eazy", Choice(low=0, high=1), "did you mean 'schedule.easy'"),
        ("schedule", Choice(low=0, high=1), "unknown training parameter"),
        ("steps", Choice(low=1, high=9), "not be comparable"),
        ("optim.lr", Choice(low=1e-3, high=1e-5), "low < high"),
        ("optim.lr", Choice(low=0, high=1, log=True), "low > 0 with log"),
        ("optim.lr", Choice(low=1e-5), "low < high"),
        ("optim.lr", Choice(values=[1e-5], low=0.1), "a list of values or a range"),
        ("optim.lr", Choice(values=[]), "a list of values or a range"),
        ("optim.lr", Choice(values=[1e-4, -1]), "greater than 0"),
        ("optim.min_lr_share", Choice(low=0, high=2), "less than or equal to 1"),
        ("model.lora_rank", Choice(low=1.5, high=8), "whole numbers"),
    ],
)
def test_wrong_spaces_are_explained(key, choice, message):
    with pytest.raises(UsageError, match=f"(?s)space.{key}") as caught:
        Space({key: choice}, TrainConfig())
    assert message in str(caught.value)


def test_an_empty_space_is_refused():
    with pytest.raises(UsageError, match="empty"):
        Space({}, TrainConfig())


def test_choices_become_distributions_of_the_right_kind():
    choices = {
        "loss.localization": Choice(low=0.03, high=3, log=True),
        "model.lora_rank": Choice(low=4, high=64, log=True),
        "loss.localization_form": Choice(values=["mass", "kl"]),
        "loss.loc_stages": Choice(values=[["easy"], ["easy", "medium"]]),
    }
    space = Space(choices, TrainConfig())
    found = space.distributions()
    assert found["loss.localization"] == FloatDistribution(0.03, 3, log=True)
    assert found["model.lora_rank"] == IntDistribution(4, 64, log=True)
    assert found["loss.localization_form"].choices == (0, 1), "a list is drawn by index: its values may be lists"
    values = {
        "loss.localization": 1.0,
        "model.lora_rank": 8,
        "loss.localization_form": "kl",
        "loss.loc_stages": ["easy"],
    }
    assert space.encode(values) == {**values, "loss.localization_form": 1, "loss.loc_stages": 0}
    assert space.decode(space.encode(values)) == values


def test_a_grid_has_every_combination_and_the_ends_of_each_range():
    choices = {
        "loss.localization": Choice(low=0.01, high=1, log=True, points=3),
        "accumulate": Choice(low=1, high=4, points=2),
        "schedule.easy": Choice(values=[0.1]),
    }
    space = Space(choices, TrainConfig())
    rows = [tuple(values.values()) for values in space.grid()]
    assert rows == [(0.01, 1, 0.1), (0.01, 4, 0.1), (0.1, 1, 0.1), (0.1, 4, 0.1), (1.0, 1, 0.1), (1.0, 4, 0.1)]
    wide = Space({"accumulate": Choice(low=1, high=2000, points=2000)}, TrainConfig())
    with pytest.raises(UsageError, match="the grid is too large"):
        wide.grid()


def test_values_outside_their_range_are_put_back():
    space = Space({"loss.localization": Choice(low=0.1, high=2), "accumulate": Choice(low=1, high=4)}, TrainConfig())
    assert space.clip({"loss.localization": 2.4, "accumulate": 0}) == {"loss.localization": 2, "accumulate": 1}
    assert space.clip({"loss.localization": 0.5, "accumulate": 3}) == {"loss.localization": 0.5, "accumulate": 3}


def test_untuned_values_come_first_where_the_space_has_them():
    train = TrainConfig()
    inside = Space({"schedule.easy": Choice(low=0, high=0.6), "optim.lr": Choice(values=[train.optim.lr, 1.0])}, train)
    assert inside.start() == {"schedule.easy": train.schedule.easy, "optim.lr": train.optim.lr}
    outside = Space({"schedule.easy": Choice(low=0.5, high=0.6)}, train)
    assert outside.start() is None


def test_nested_and_merge():
    assert nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    base = {"a": {"b": 1, "x": [1]}, "e": 5}
    assert merge(base, {"a": {"b": 2}, "d": 3}) == {"a": {"b": 2, "x": [1]}, "e": 5, "d": 3}
    assert base == {"a": {"b": 1, "x": [1]}, "e": 5}


def test_applied_values_are_validated():
    assert applied(TrainConfig(), {"loss.localization": 0.5, "steps": 7}).loss.localization == 0.5
    with pytest.raises(ValueError, match="greater than 0"):
        applied(TrainConfig(), {"optim.lr": -1.0})
