import math
from collections import Counter

import pytest

from medclm.config import ScheduleConfig
from medclm.errors import UsageError
from medclm.train.schedule import learning_rate, observe, shares, stage_of, window_of


def mixture(config, step, steps=100):
    return shares(config, steps, {}, step, "nodule/CR")


def test_fixed_splits_the_steps_at_the_shares():
    config = ScheduleConfig(name="fixed", easy=3, medium=5, hard=2, floor=0)
    found = [mixture(config, step) for step in range(100)]
    assert found == [(1, 0, 0)] * 30 + [(0, 1, 0)] * 50 + [(0, 0, 1)] * 20


def test_fixed_floor_keeps_the_stages_before():
    config = ScheduleConfig(name="fixed", easy=0.3, medium=0.5, hard=0.2, floor=0.4)
    assert mixture(config, 10) == (1, 0, 0)
    assert mixture(config, 50) == pytest.approx((0.4, 0.6, 0))
    assert mixture(config, 90) == pytest.approx((0.2, 0.2, 0.6))


def test_fixed_leaves_out_a_stage_without_a_share():
    config = ScheduleConfig(name="fixed", easy=0, medium=0.5, hard=0.5, floor=0.2)
    assert mixture(config, 0) == (0, 1, 0)
    assert mixture(config, 60) == pytest.approx((0, 0.2, 0.8))


def test_reversed_begins_with_hard():
    config = ScheduleConfig(name="reversed", easy=0.3, medium=0.5, hard=0.2, floor=0)
    found = [mixture(config, step) for step in range(100)]
    assert found == [(0, 0, 1)] * 20 + [(0, 1, 0)] * 50 + [(1, 0, 0)] * 30


def test_uniform_draws_by_share():
    config = ScheduleConfig(name="uniform", easy=1, medium=2, hard=1)
    counts = Counter(stage_of(mixture(config, step), 0, step, place) for step in range(100) for place in range(20))
    assert abs(counts["medium"] / 2000 - 0.5) < 0.04
    assert abs(counts["easy"] / 2000 - 0.25) < 0.04


def test_a_draw_is_a_function_of_seed_step_and_place():
    draw = [stage_of((0.3, 0.4, 0.3), 7, step, place) for step in range(50) for place in range(4)]
    assert draw == [stage_of((0.3, 0.4, 0.3), 7, step, place) for step in range(50) for place in range(4)]
    assert draw != [stage_of((0.3, 0.4, 0.3), 8, step, place) for step in range(50) for place in range(4)]


def test_a_stage_without_a_share_is_never_drawn():
    assert {stage_of((0.0, 1.0, 0.0), 0, step, 0) for step in range(200)} == {"medium"}
    assert {stage_of((1.0 - 1e-12, 0.0, 0.0), 0, step, 0) for step in range(200)} == {"easy"}


@pytest.mark.parametrize(("name", "wanted"), [("hard-only", (0, 0, 1)), ("cot-only", (0, 1, 0))])
def test_one_stage_schedules(name, wanted):
    assert {mixture(ScheduleConfig(name=name), step) for step in range(100)} == {wanted}


def test_a_schedule_that_does_not_learn_from_losses_has_no_state():
    losses = {"nodule/CR": {"easy": (2.0, 4.0)}}
    assert observe(ScheduleConfig(name="fixed"), 100, {}, 10, losses, losses) == {}


def test_no_share_at_all_is_an_error():
    with pytest.raises(UsageError):
        mixture(ScheduleConfig(name="fixed", easy=0, medium=0, hard=0), 0)


def test_window_by_hand():
    assert window_of(ScheduleConfig(), 100) == 8
    assert window_of(ScheduleConfig(), 1000) == 40
    assert window_of(ScheduleConfig(), 100_000) == 200
    assert window_of(ScheduleConfig(window=5), 1000) == 5


def test_learning_rate_by_hand():
    rates = [learning_rate(step, 110, 1.0, 0.1, 10 / 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert rates[109] < 0.11
