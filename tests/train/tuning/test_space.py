"""The searched space: what is refused, what Ray Tune gets, and how values go back into a configuration."""

from __future__ import annotations

import pytest
from medclm.train.space import Space, merge, nested
from ray.tune.search.sample import Categorical, Float, Integer

from medclm.config import Choice, TrainConfig
from medclm.errors import UsageError


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


def test_choices_become_domains_of_the_right_kind():
    choices = {
        "loss.localization": Choice(low=0.03, high=3, log=True),
        "schedule.easy": Choice(low=0, high=0.6),
        "model.lora_rank": Choice(low=4, high=64, log=True),
        "accumulate": Choice(low=1, high=2),
        "loss.localization_form": Choice(values=["mass", "kl"]),
    }
    domains = Space(choices, TrainConfig()).domains()
    kinds = {
        key: type(domain).__mro__[1] if domain.__class__.__name__[0] == "_" else type(domain)
        for key, domain in domains.items()
    }
    assert kinds["loss.localization"] is Float
    assert kinds["model.lora_rank"] is Integer
    assert kinds["loss.localization_form"] is Categorical
    draws = [domains["accumulate"].sample() for _ in range(200)]
    assert set(draws) == {1, 2}, "both ends of a whole-number range are drawn"
    assert all(0.03 <= domains["loss.localization"].sample() <= 3 for _ in range(50))


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
