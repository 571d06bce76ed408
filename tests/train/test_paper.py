import pytest

from medclm.config import ScheduleConfig
from medclm.train import paper
from medclm.train.schedule import shares
from tests.train.simulate import draws

CONFIG = ScheduleConfig(name="paper")


@pytest.mark.parametrize("ratio", [1.2, 1.0, 0.8, 0.5])
def test_the_published_rule_collapses(ratio):
    """METHOD section 3: Hard gets 0 of 52,000 draws unless Medium's loss is at most 0.4 of Easy's."""
    counts, _ = draws(CONFIG, ratio)
    total = sum((c for c in counts), start=type(counts[0])())
    assert total.total() == 52_000
    assert total["hard"] == 0
    if ratio >= 0.8:
        late = sum(counts[-8:], start=type(counts[0])())
        assert late["medium"] / late.total() < 0.06


def test_hard_begins_where_medium_is_far_below_easy():
    counts, state = draws(CONFIG, 0.3, noise=0.02)
    assert sum(c["hard"] for c in counts) > 0
    assert 0 < state["hard"] <= 0.3


def test_medium_by_hand():
    state = {"means": {"d": {"easy": 2.0, "medium": 1.0}}, "hard": 0.2}
    assert shares(CONFIG, 30, state, 3, "d") == (1, 0, 0)
    assert shares(CONFIG, 30, state, 9, "d") == pytest.approx((0.75, 0.25, 0))  # ramp 0.5, sigmoid(0) = 0.5
    assert shares(CONFIG, 30, state, 20, "d") == pytest.approx((0.4, 0.4, 0.2))


def test_an_unvisited_medium_looks_solved():
    assert paper.gap({"means": {"d": {"easy": 2.0}}}, "d") == 1.0
    assert paper.gap({}, "d") == 0.0


def test_nine_tenths_of_the_mean_are_the_newest_epoch():
    state = {}
    for step, loss in ((1, 10.0), (2, 1.0)):
        state = paper.observe(CONFIG, 30, state, step, {"d": {"easy": (loss * 4, 4.0)}})
    assert state["means"]["d"]["easy"] == pytest.approx(0.1 * 10 + 0.9 * 1)
