"""Trials on disk: what is written is what is read, in whatever state a kill left it."""

from __future__ import annotations

import pytest

from medclm.train.tuning.trials import Report, Store, Trial, choose, hardest_stage


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path), "accuracy", 80)


def report(step: int, score: float, easy: float = 1.0, medium: float = 0.0, seconds: float = 2.0) -> Report:
    metrics = {"accuracy": score, "loss": 1.5, "easy/share": easy, "medium/share": medium, "hard/share": 0.0}
    return Report(step, metrics, seconds, f"checkpoint-{step}")


def test_a_trial_from_its_begin_to_its_end(store):
    name = store.begin(3, {"optim.lr": 0.1})
    assert name == "t003"
    assert store.read(name) == Trial(
        "t003", {"optim.lr": 0.1}, "running", 0, None, generations=store.read(name).generations
    )
    store.report(name, 0, report(40, 0.5))
    store.report(name, 0, report(8, 0.25, 0.5, 0.5))
    store.report(name, 0, report(40, 0.5))
    read = store.read(name)
    assert (read.status, read.step, read.score, read.steps_trained, read.seconds) == ("running", 40, 0.5, 40, 4.0)
    assert read.history == ((8, 0.25), (40, 0.5))
    assert read.shares == ((8, 0.5, 0.5, 0.0), (40, 1.0, 0.0, 0.0))
    store.end(name)
    assert store.read(name).status == "stopped", "ended before its last step"
    store.report(name, 0, report(80, 0.6))
    assert store.read(name).status == "finished"
    store.end(name, "OSError: full")
    assert (store.read(name).status, store.read(name).error) == ("failed", "OSError: full")


def test_all_trials_in_the_order_they_began(store):
    assert store.all() == []
    for number in (0, 1, 2):
        store.begin(number, {"optim.lr": float(number)})
    assert [trial.values["optim.lr"] for trial in store.all()] == [0.0, 1.0, 2.0]


def test_a_trial_that_copied_another_counts_only_its_own_steps(store):
    """t000 measured to 40; it then began again from t007's step 20 and measured there. What it was ahead is void."""
    store.begin(0, {"optim.lr": 0.1})
    for step in (20, 30, 40):
        store.report("t000", 0, report(step, step / 100))
    store.branch("t000", 1, {"optim.lr": 0.2}, {"trial": "t007", "step": 20, "checkpoint": "c"})
    store.report("t000", 1, report(30, 0.9))
    read = store.read("t000")
    assert read.values == {"optim.lr": 0.2}
    assert read.history == ((20, 0.2), (30, 0.9))
    assert read.steps_trained == 40 + 10
    assert [part.begin for part in read.generations] == [0, 20]


def test_the_hardest_stage_so_far():
    assert hardest_stage(()) == 0
    assert hardest_stage(((10, 1.0, 0.0, 0.0),)) == 0
    assert hardest_stage(((10, 0.5, 0.0, 0.5), (20, 0.5, 0.5, 0.0))) == 2


def trial(name: str, step: int, score: float | None, status: str = "finished") -> Trial:
    return Trial(name, {"schedule.easy": 0.1}, status, step, score)


def test_best_is_chosen_among_those_that_went_furthest():
    tried = (trial("a", 50, 0.9, "stopped"), trial("b", 100, 0.5), trial("c", 100, 0.7), trial("d", 100, 0.7))
    assert choose(tried).name == "c", "the earlier of equals; a stopped trial's 0.9 is of another step"
    assert choose(tried, "min").name == "b"
    assert choose((trial("x", 0, None), trial("y", 100, 0.9, "failed"))) is None
