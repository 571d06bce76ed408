"""What a population can do, and whether it fits; that it copies is shown in test_search."""

from __future__ import annotations

import pytest

from medclm.config import Choice, TrainConfig, TuneConfig
from medclm.errors import UsageError
from medclm.train.tuning import population
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Store


def test_members_are_made_once_and_those_that_ended_stay_out(tmp_path):
    space = Space({"schedule.easy": Choice(low=0, high=1)}, TrainConfig())
    store, config = Store(str(tmp_path), "accuracy", 8), TuneConfig(search="pbt", trials=3)
    first = population.members(space, store, config)
    assert [member["name"] for member in first] == ["t000", "t001", "t002"]
    assert first[0]["values"] == {"schedule.easy": 0.3}, "the untuned values"
    store.end("t001")
    assert population.members(space, store, config) == [first[0], first[2]]
    listed = Space({"schedule.easy": Choice(values=[0.1, 0.3])}, TrainConfig())
    with pytest.raises(UsageError, match="too small for the population"):
        population.members(listed, Store(str(tmp_path / "other"), "accuracy", 8), config)


def test_changed_values_stay_in_their_range():
    space = Space({"schedule.easy": Choice(low=0, high=0.5)}, TrainConfig())
    config = {"proposal": {"name": "t000", "values": {"schedule.easy": 0.6}}}
    assert population._clipped(config, space)["proposal"]["values"] == {"schedule.easy": 0.5}
    assert config["proposal"]["values"] == {"schedule.easy": 0.6}


def test_what_a_population_cannot_change_is_told():
    space = Space({"model.lora_rank": Choice(low=4, high=8)}, TrainConfig())
    with pytest.raises(UsageError, match=r"(?s)middle of a run.*space\.model\.lora_rank"):
        population.check_population(space, TuneConfig(search="pbt"))
    space = Space({"schedule.easy": Choice(low=0, high=1)}, TrainConfig())
    with pytest.raises(UsageError, match="at least two"):
        population.check_population(space, TuneConfig(search="pbt", trials=1))
    population.check_population(space, TuneConfig(search="pbt", trials=2))


def test_a_population_that_does_not_fit_is_told(ray_cluster):
    with pytest.raises(UsageError, match="no room for the population"):
        population.check_room(TuneConfig(search="pbt", trials=8))
    population.check_room(TuneConfig(search="pbt", trials=8, worker_cpus=0.25))
