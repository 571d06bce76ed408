"""What a search found, as a person reads it."""

from __future__ import annotations

from medclm.train.tuning.result import TuneResult
from medclm.train.tuning.trials import Report, Store


def test_summary_and_lines(tmp_path):
    store = Store(str(tmp_path), "accuracy", 100)
    for number, (value, step, score) in enumerate(((1.0, 100, 0.25), (0.5, 50, 0.75))):
        name = store.begin(number, {"loss.localization": value})
        store.report(name, 0, Report(step, {"accuracy": score}, 3.0))
        store.end(name)
    trials = tuple(store.all())
    result = TuneResult(trials[1], "out/schedule.yaml", trials, "accuracy", 100)
    assert (result.summary()["steps_spent"], result.summary()["steps_without_stopping"]) == (150, 200)
    lines = result.lines()
    assert lines["trials"] == "1 finished, 1 stopped"
    assert lines["best"] == "loss.localization 0.5"
    assert lines["steps"] == "150 of 200 (75%)"
    assert lines["report"] == "out/report.html"
