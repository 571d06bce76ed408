"""The page of a search: one self-contained file that says what was found, and what was not."""

from __future__ import annotations

import pytest

from medclm.config import Choice, TrainConfig, TuneConfig
from medclm.train.tuning.report import kind_of, write_report
from medclm.train.tuning.result import TuneResult
from medclm.train.tuning.trials import Trial
from medclm.train.tuning.words import sentence
from tests.train.tuning.comparisons import comparison, interval


def trials() -> tuple[Trial, ...]:
    shares = ((40, 1.0, 0.0, 0.0), (80, 0.2, 0.5, 0.3))
    return tuple(
        Trial(f"t{n:03d}", {"schedule.easy": 0.3 + n / 20}, "finished" if n < 5 else "stopped", 80 if n < 5 else 40,
              n / 10, ((40, n / 12), (80, n / 10))[: 2 if n < 5 else 1], shares[: 2 if n < 5 else 1], 80, 12.0)
        for n in range(7)
    )  # fmt: skip


def test_kinds_of_trials():
    all_of = trials()
    kinds = [kind_of(trial, all_of[4], {"schedule.easy": 0.3}) for trial in all_of]
    assert kinds == ["untuned", "finished", "finished", "finished", "best", "stopped", "stopped"]


@pytest.mark.parametrize("compared", [None, comparison(interval(0.1, -0.02, 0.18), False)])
def test_the_page_is_self_contained(tmp_path, compared):
    settings = TuneConfig(train=TrainConfig(steps=80), space={"schedule.easy": Choice(low=0, high=0.6)}, trials=7)
    result = TuneResult(trials()[4], "schedule.yaml", trials(), "accuracy", 80, compared, 90.0)
    write_report(str(tmp_path / "report.html"), result, settings, "schedule: {easy: 0.5}")
    page = (tmp_path / "report.html").read_text()
    assert sentence(compared) in page
    assert page.count("<polyline") == 14
    assert "schedule: {easy: 0.5}" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
