import math
from collections import Counter

import pytest

from medclm.config import ScheduleConfig
from medclm.errors import UsageError
from medclm.train.schedule import learning_rate, stage_of


def stages(config, steps=100, examples=10, seed=0):
    return [[stage_of(config, steps, seed, step, n) for n in range(examples)] for step in range(steps)]


def test_fixed_splits_the_steps_at_the_shares():
    found = stages(ScheduleConfig(name="fixed", easy=3, medium=5, hard=2))
    assert {stage for row in found[:30] for stage in row} == {"easy"}
    assert {stage for row in found[30:80] for stage in row} == {"medium"}
    assert {stage for row in found[80:] for stage in row} == {"hard"}


def test_fixed_floor_keeps_the_stages_before():
    found = stages(ScheduleConfig(name="fixed", easy=0.3, medium=0.5, hard=0.2, floor=0.4), examples=200)
    last = Counter(stage for row in found[80:] for stage in row)
    assert {stage for row in found[:30] for stage in row} == {"easy"}
    assert abs(last["hard"] / last.total() - 0.6) < 0.03
    assert abs(last["easy"] / last.total() - 0.2) < 0.03


def test_uniform_draws_by_share_and_is_a_function_of_seed_step_and_place():
    config = ScheduleConfig(name="uniform", easy=0.25, medium=0.5, hard=0.25)
    found = stages(config)
    counts = Counter(stage for row in found for stage in row)
    assert abs(counts["medium"] / 1000 - 0.5) < 0.06
    assert found == stages(config)
    assert found != stages(config, seed=1)


@pytest.mark.parametrize(("name", "stage"), [("hard-only", "hard"), ("cot-only", "medium")])
def test_one_stage_schedules(name, stage):
    assert {s for row in stages(ScheduleConfig(name=name)) for s in row} == {stage}


def test_no_share_at_all_is_an_error():
    with pytest.raises(UsageError):
        stage_of(ScheduleConfig(easy=0, medium=0, hard=0), 10, 0, 0, 0)


def test_learning_rate_by_hand():
    rates = [learning_rate(step, 110, 1.0, 0.1, 10 / 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert rates[109] < 0.11
