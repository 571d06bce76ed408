"""Ray Tune as it is, over trials that measure what their own value says, instead of training."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from medclm.config import Choice, TrainConfig, TuneConfig
from medclm.train.tune import compared
from medclm.train.tuning import search
from medclm.train.tuning.run import Job
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Store, Trial

KEY = "loss.localization"


def measured(at_step=lambda job, name, step: None):
    """A tune function: at every step, the value is the accuracy. It goes on after its last report, like a real one.

    A nested function: Ray sends it to its workers by value.
    """

    def trial(config, job):
        from ray import tune

        from medclm.train.tuning import run
        from medclm.train.tuning.trials import Report

        name = tune.get_context().get_trial_name()
        part = run.begin(job.store, name, config["proposal"]["values"], run._pointer(tune.get_checkpoint()))
        if part.reports:
            run._tell(job, name, part.reports[-1])
        for step in range(part.reports[-1].step + 1 if part.reports else part.begin + 1, job.train.steps + 1):
            at_step(job, name, step)
            metrics = {"accuracy": part.values["loss.localization"], "pid": float(os.getpid())}
            report = Report(step, metrics, 0.1, f"{name}-{step}" if job.branches else "")
            job.store.report(name, part.number, report)
            run._tell(job, name, report)

    return trial


def run_search(tmp_path: Path, monkeypatch, trial, choice: Choice, steps: int = 4, **changes) -> list[Trial]:
    train = TrainConfig.model_validate({"steps": steps, "loss": {"localization": 1.0}})
    fixed = {"train": train, "space": {KEY: choice}, "grace_steps": 1, "stage_grace_steps": 0, "search": "grid"}
    config = TuneConfig.model_validate(fixed | changes)
    train = compared(config)
    monkeypatch.setattr(search, "run_trial", trial)
    job = Job("", str(tmp_path), train, "accuracy", {"CPU": 1.0}, config.search == "pbt")
    search.search(Space(config.space, train), job, config)
    return job.store.all()


def test_bad_trials_really_stop_early_and_more_trials_go_on(ray_cluster, tmp_path, monkeypatch):
    """One after the other: 1.0 (untuned, first), then 0.1, 0.2: behind at the first rung; 0.9: second of four there,
    third of three that came to the second rung... and is stopped at it."""
    few = run_search(tmp_path, monkeypatch, measured(), Choice(values=[0.1, 0.2, 1.0]), stopping="asha")
    assert [(one.values[KEY], one.status, one.step) for one in few] == [
        (1.0, "finished", 4), (0.1, "stopped", 1), (0.2, "stopped", 1)
    ]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("reports/*.json")}
    more = run_search(tmp_path, monkeypatch, measured(), Choice(values=[0.1, 0.2, 1.0, 0.9]), stopping="asha")
    assert more[:3] == few
    assert (more[3].values[KEY], more[3].status, more[3].step) == (0.9, "stopped", 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what had ended was not run again"


def test_in_rounds_the_best_go_on_from_where_they_waited(ray_cluster, tmp_path, monkeypatch):
    """Four values, rungs at 1 and 2 of 4 steps: all four train step 1, the best two step 2, the best 3 and 4."""
    values = Choice(values=[0.1, 0.2, 0.9, 1.0])
    found = run_search(tmp_path, monkeypatch, measured(), values, stopping="halving", concurrent=4)
    assert {one.values[KEY]: (one.status, one.step) for one in found} == {
        1.0: ("finished", 4), 0.1: ("stopped", 1), 0.2: ("stopped", 1), 0.9: ("stopped", 2)
    }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*.json")}
    assert run_search(tmp_path, monkeypatch, measured(), values, stopping="halving") == found
    assert {path: path.stat().st_mtime_ns for path in before} == before, "there was nothing left to do"


def test_a_trial_that_is_killed_goes_on(ray_cluster, tmp_path, monkeypatch):
    def kill_once(job, name, step):
        mark = Path(job.out) / f"killed-{name}"
        if step == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    found = run_search(tmp_path, monkeypatch, measured(kill_once), Choice(values=[1.0]), stopping="none")
    assert [(one.status, one.history) for one in found] == [("finished", tuple((n, 1.0) for n in (1, 2, 3, 4)))]
    pids = [report.metrics["pid"] for report in found[0].generations[0].reports]
    assert pids[0] == pids[1] != pids[2] == pids[3], "steps 1 and 2 in the killed process, 3 and 4 in another"


def test_a_failed_trial_is_told_and_tried_again_when_the_search_is_run_again(ray_cluster, tmp_path, monkeypatch):
    def full(job, name, step):
        raise OSError("the disk is full")

    failed = run_search(tmp_path, monkeypatch, measured(full), Choice(values=[1.0]), max_failures=0)
    assert failed[0].status == "failed"
    assert "the disk is full" in failed[0].error
    repaired = run_search(tmp_path, monkeypatch, measured(), Choice(values=[1.0]), max_failures=0)
    assert [(one.name, one.status) for one in repaired] == [("t000", "finished")]


def test_two_trials_run_side_by_side(ray_cluster, tmp_path, monkeypatch):
    def wait_for_the_other(job, name, step):
        other = Path(job.store.folder("t001" if name == "t000" else "t000", "here"))
        Path(job.store.folder(name, "here")).touch()
        until = time.monotonic() + 60
        while not other.exists():
            if time.monotonic() > until:
                raise TimeoutError("the other trial has not come")
            time.sleep(0.05)

    settings = {"concurrent": 2, "stopping": "none"}
    found = run_search(tmp_path, monkeypatch, measured(wait_for_the_other), Choice(values=[1.0, 2.0]), **settings)
    assert [one.status for one in found] == ["finished", "finished"]


@pytest.mark.slow
def test_in_a_population_the_worst_copies_the_best(ray_cluster, tmp_path, monkeypatch):
    """Both have measured steps 2 and 4 before either goes on; the worse begins again from the better's checkpoint."""

    def together(job, name, step):
        if step in (3, 5):
            other = Path(job.store.folder("t001" if name == "t000" else "t000", "g0")).parent
            until = time.monotonic() + 60
            while not any(other.glob(f"g*/reports/{step - 1:08d}.json")):
                if time.monotonic() > until:
                    raise TimeoutError("the other trial has not come")
                time.sleep(0.05)

    population = {"interval_steps": 2, "quantile": 0.5, "resample": 0.0}
    settings = {"search": "pbt", "trials": 2, "steps": 6, "population": population, "worker_cpus": 0.5}
    found = run_search(tmp_path, monkeypatch, measured(together), Choice(low=0.5, high=1.1), **settings)
    assert [(one.status, one.step) for one in found] == [("finished", 6), ("finished", 6)]
    copies = [(one, part) for one in found for part in one.generations[1:]]
    assert copies, "somebody copied"
    for one, part in copies:
        assert part.origin["trial"] != one.name
        assert part.origin["checkpoint"] == f"{part.origin['trial']}-{part.origin['step']}"
        donor = next(other for other in found if other.name == part.origin["trial"])
        allowed = [min(max(gen.values[KEY] * factor, 0.5), 1.1) for gen in donor.generations for factor in (0.8, 1.2)]
        assert any(part.values[KEY] == pytest.approx(value) for value in allowed), "0.8 or 1.2 times, within the range"


def test_what_was_measured_before_is_known_to_the_halving(tmp_path):
    from medclm.train.tuning.trials import Report

    store = Store(str(tmp_path), "accuracy", 8)
    for number, score in enumerate((0.9, 0.2)):
        name = store.begin(number, {KEY: float(number)})
        for step in (1, 2):
            store.report(name, 0, Report(step, {"accuracy": score}, 1.0))
    store.end("t000")
    halving = search.halving_of(
        store, TuneConfig(train=TrainConfig(steps=8), stopping="asha", grace_steps=1, stage_grace_steps=0)
    )
    assert halving.scores == {"t000": {1: 0.9, 2: 0.9}, "t001": {1: 0.2}}, "a running trial's last report comes again"
    assert not halving.keep("t001", 2, 0.2)
    assert search.halving_of(store, TuneConfig(stopping="none")) is None
