import json

import pytest

from medclm.config import ScheduleConfig
from medclm.train import competence
from medclm.train.schedule import shares
from tests.train.simulate import DOMAINS, draws

CONFIG = ScheduleConfig()


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.2, 1.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_loss_ratio_visits_all_stages_and_ends_in_the_configured_mixture(ratio, seed):
    counts, state = draws(CONFIG, ratio, steps=800, seed=seed)
    total = sum((c for c in counts), start=type(counts[0])())
    assert min(total[stage] for stage in ("easy", "medium", "hard")) > 0.05 * total.total()
    assert {state["domains"][domain]["stage"] for domain in DOMAINS} == {2}
    last = sum(counts[-4:], start=type(counts[0])())
    for stage, share in (("easy", 0.3), ("medium", 0.5), ("hard", 0.2)):
        assert abs(last[stage] / last.total() - share) < 0.05


def test_a_floor_of_medium_is_there_from_the_first_step():
    counts, _ = draws(CONFIG, 1.2, steps=400)
    assert 0 < counts[0]["medium"] / counts[0].total() < 0.2
    assert counts[0]["hard"] == 0


def test_caught_up_moves_on_sooner_than_a_plateau_and_that_sooner_than_never():
    def since(ratio):
        return draws(CONFIG, ratio, steps=800, noise=0.02)[1]["domains"]["*"]

    near, far = since(1.05), since(1.5)
    assert near["why"] == "caught up"
    assert far["why"] == "plateau"
    assert near["since"] < far["since"]


def observe(state, step, easy, medium, steps=100, config=None):
    losses = {"nodule/CR": {"easy": (easy * 100, 100.0), "medium": (medium * 100, 100.0)}}
    return competence.observe(config or ScheduleConfig(history=0.5, shortest=0.0), steps, state, step, losses)


def test_the_first_loss_seeds_the_running_mean_and_the_gap_is_relative():
    state = observe({}, 10, 2.0, 3.0)
    assert state["domains"]["nodule/CR"]["medium"] == 3.0
    assert state["domains"]["nodule/CR"]["gap"] == 0.5
    state = observe(state, 20, 1.0, 1.0)
    found = state["domains"]["nodule/CR"]
    assert (found["easy"], found["medium"]) == (1.5, 2.0)
    assert found["gap"] == pytest.approx(1 / 3)
    assert found["slope"] == pytest.approx(1 / 3 - 0.5)
    assert state["domains"]["*"] == found


def test_hysteresis_needs_patience_decisions_in_a_row():
    state = {}
    for step, medium in ((10, 1.05), (20, 1.05), (30, 1.05)):
        state = observe(state, step, 1.0, medium)
    assert state["domains"]["*"]["caught"] == 0  # third decision: two flat ones, the second moved it on
    assert state["domains"]["*"]["stage"] == 1
    assert state["domains"]["*"]["since"] == 30


def test_hard_backs_off_by_a_tenth_and_comes_back():
    state = {}
    for step in range(10, 60, 10):
        state = observe(state, step, 1.0, 1.0)
    assert state["domains"]["*"]["stage"] == 2
    state = observe(state, 70, 1.0, 1.0)
    worse = observe(state, 80, 1.0, 1.5)  # the mean becomes 1.25, above 1.05 times its best
    assert worse["domains"]["*"]["hard"] == pytest.approx(0.9)
    better = observe(worse, 90, 1.0, 0.5)
    assert better["domains"]["*"]["hard"] == pytest.approx(1.0)


def test_a_rare_domain_follows_all_together():
    state = {}
    for step in range(10, 60, 10):
        losses = {"mass/CR": {"easy": (100.0, 100.0), "medium": (100.0, 100.0)}, "rare/CR": {"easy": (1.0, 1.0)}}
        state = competence.observe(ScheduleConfig(history=0.5, shortest=0.0), 100, state, step, losses)
    rare, everything = state["domains"]["rare/CR"], state["domains"]["*"]
    assert (rare["seen"], rare["stage"], rare["since"]) == (5, everything["stage"], everything["since"])
    config = ScheduleConfig()
    assert shares(config, 100, state, 99, "rare/CR") == shares(config, 100, state, 99, "*") != (0.9, 0.1, 0.0)


def test_a_new_mixture_fades_in():
    config = ScheduleConfig(easy=0.3, medium=0.6, hard=0.1, floor=0.1, ramp=0.1)
    state = {"domains": {"*": {**competence._NEW, "stage": 1, "since": 50, "seen": 99.0}}}
    assert shares(config, 100, state, 50, "x") == pytest.approx((0.9, 0.1, 0))
    assert shares(config, 100, state, 55, "x") == pytest.approx(((0.9 + 1 / 3) / 2, (0.1 + 2 / 3) / 2, 0))
    assert shares(config, 100, state, 70, "x") == pytest.approx((1 / 3, 2 / 3, 0))


def test_the_floor_holds_for_every_stage_that_was_entered():
    config = ScheduleConfig(easy=0.0, medium=0.8, hard=0.2, floor=0.1)
    state = {"domains": {"*": {**competence._NEW, "stage": 2, "since": 0, "seen": 99.0}}}
    assert shares(config, 100, state, 90, "x") == pytest.approx((0.1, 0.7, 0.2))


def test_the_state_is_json():
    _, state = draws(CONFIG, 1.0, steps=200)
    assert json.loads(json.dumps(state)) == state
