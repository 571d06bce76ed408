import pytest

from medclm.data.records import Step
from medclm.eval.asks import Ask, Plan, Window
from medclm.eval.replies import Answers, Reply, broken, by_ask, failed, remaining
from medclm.serve.predictor import Prediction

ASKS = tuple(Ask(name, "", f"{name}?") for name in "abc")
WINDOW = Window("w", (), ASKS)
SAID = Prediction("t", "yes", 0.5, (Step(step="seed", text="x", box_xyxy=(1, 2, 3, 4)),), True, 7, 2, "length")


def test_replies_come_back_and_failures_are_asked_again(tmp_path):
    store = Answers(str(tmp_path), {"model": "m"})
    assert store.load(WINDOW) == {}
    store.keep(WINDOW, [Reply(SAID, attention=0.25, attention_even=0.1), failed("time-out"), broken("cut off")])
    assert store.load(WINDOW) == {0: Reply(SAID, attention=0.25, attention_even=0.1)}
    assert remaining(WINDOW, store.load(WINDOW)).asks == ASKS[1:]
    assert Answers(str(tmp_path), {"model": "other"}).load(WINDOW) == {}


def test_order_is_that_of_the_plan():
    plan = Plan(asks=[ASKS[2], ASKS[0], ASKS[1]])
    windows = [Window("1", (), ASKS[:1]), Window("2", (), ASKS[1:])]
    found = by_ask(plan, windows, [[failed("a")], [failed("b"), failed("c")]])
    assert [reply.reason for reply in found] == ["c", "a", "b"]


def test_a_window_without_all_its_replies_is_not_stored(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        Answers(str(tmp_path), {}).keep(WINDOW, [failed("x")])
