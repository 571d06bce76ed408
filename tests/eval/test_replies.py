import pytest

from medclm.data.records import Step
from medclm.eval.asks import Ask, Plan, Window
from medclm.eval.replies import Answers, Reply, broken, by_ask, failed, remaining
from medclm.serve.predictor import Prediction

ASKS = tuple(Ask(name, "", f"{name}?") for name in "abc")
WINDOW = Window((), ASKS, ("1", "2", "3"))
SAID = Prediction("t", "yes", 0.5, (Step(step="seed", text="x", box_xyxy=(1, 2, 3, 4)),), True, 7, 2, "length")


def test_replies_come_back_and_failures_are_asked_again(tmp_path):
    store = Answers(str(tmp_path), {"model": "m"})
    assert store.load() == {}
    store.keep(WINDOW, [Reply(SAID, attention=0.25, attention_even=0.1), failed("time-out"), broken("cut off")])
    assert store.load() == {"1": Reply(SAID, attention=0.25, attention_even=0.1)}
    assert remaining(WINDOW, store.load()) == Window((), ASKS[1:], ("2", "3"))
    assert Answers(str(tmp_path), {"model": "other"}).load() == {}


def test_order_is_that_of_the_plan():
    plan = Plan(asks=[ASKS[2], ASKS[0], ASKS[1]])
    windows = [Window((), ASKS[:1], ("1",)), Window((), ASKS[1:], ("2", "3"))]
    found = by_ask(plan, windows, {"1": failed("a"), "2": failed("b"), "3": failed("c")})
    assert [reply.reason for reply in found] == ["c", "a", "b"]


def test_a_window_without_all_its_replies_is_not_stored(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        Answers(str(tmp_path), {}).keep(WINDOW, [failed("x")])
