"""`medclm tune`, for real: a search over real training runs whose driver is killed, and the command run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from medclm import config, storage
from medclm.config import Choice, TrainConfig, TuneConfig
from medclm.errors import UsageError
from medclm.train import tune
from medclm.train.tuning.space import applied
from tests.hand_dataset import make_record, write_dataset

LOSS = "loss.localization"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """24 pictures made by hand, every third of the validate split."""
    records = [make_record(n, "validate" if n % 3 == 0 else "train", n % 2 == 0) for n in range(24)]
    return write_dataset(tmp_path_factory.mktemp("hand"), records)


def settings_of(**changes) -> TuneConfig:
    """A grid of two weights of L_loc. The loss with the larger one is larger, so it must be stopped at step 2 of 4."""
    small = {"vision": "random", "image_size": 32, "patch_size": 8, "scale": 1, "vision_width": 16, "vision_layers": 1,
             "text_width": 16, "text_layers": 2, "heads": 2, "vocabulary": 400}  # fmt: skip
    train = {
        "model": {"tiny": small}, "steps": 4, "batch_size": 4, "evaluate_every": 2, "evaluate_limit": 2, "log_every": 1,
        "schedule": {"name": "cot-only"}, "loss": {"localization": 0.1},
    }  # fmt: skip
    fixed = {
        "train": train,
        "space": {LOSS: {"values": [0.1, 30.0]}},
        "search": "grid",
        "metric": "loss",
        "mode": "min",
    }
    fixed |= {"grace_steps": 2, "stage_grace_steps": 0, "compare": {"seeds": []}, "worker_cpus": 0.5}
    return TuneConfig.model_validate(fixed | changes)


def test_trials_are_measured_and_kept_when_they_are_first_judged():
    assert tune.compared(TuneConfig(grace_steps=50)).evaluate_every == 50
    assert tune.compared(TuneConfig(grace_steps=50, train=TrainConfig(steps=20))).evaluate_every == 20
    train = tune.compared(TuneConfig(train=TrainConfig(evaluate_every=7)))
    assert (train.evaluate_every, train.checkpoint_every, train.keep_checkpoints) == (7, 7, 2)
    population = tune.compared(TuneConfig(search="pbt", train=TrainConfig(steps=1000)))
    assert (population.evaluate_every, population.keep_checkpoints) == (100, 11), "others copy any of them"


def test_a_wrong_space_fails_before_anything_starts(dataset, tmp_path):
    settings = TuneConfig(space={"loss.localisation": Choice(low=0, high=1)})
    with pytest.raises(UsageError, match=r"did you mean 'loss[.]localization'"):
        tune.tune(dataset, str(tmp_path / "out"), settings)
    assert not (tmp_path / "out").exists()


def test_there_must_be_a_search_to_go_on_with(dataset, tmp_path):
    with pytest.raises(UsageError, match="no search to go on with"):
        tune.tune(dataset, str(tmp_path / "out"), settings_of(), resume=True)
    assert not (tmp_path / "out").exists()


def test_a_directory_holds_one_search(dataset, tmp_path):
    tune._claim(str(tmp_path), "abc", settings_of(), resume=False)
    tune._claim(str(tmp_path), "abc", settings_of(trials=9), resume=True)
    with pytest.raises(UsageError, match=r"(?s)another search.*different: grace_steps, seed"):
        tune._claim(str(tmp_path), "other", settings_of(seed=4, grace_steps=1), resume=False)


def test_trials_need_a_directory(dataset):
    with pytest.raises(UsageError, match="trials need a directory"):
        tune.tune(dataset, "memory://out", settings_of())


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_goes_on(ray_cluster, dataset, tmp_path):
    out, file = tmp_path / "out", tmp_path / "tune.yaml"
    file.write_text(json.dumps(settings_of().model_dump(mode="json")))
    first = out / "trials" / "t000" / "g0" / "reports" / "00000002.json"
    _kill_when(first, ["tune", "--data", dataset, "--out", str(out), "--config", str(file), "--json"])
    before = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/g*/reports/*.json")}
    calls: list[tuple[int, int]] = []
    settings = settings_of()
    result = tune.tune(dataset, str(out), settings, lambda done, total: calls.append((done, total)), resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "no step that was measured is trained again"
    assert [(one.values[LOSS], one.status) for one in result.trials] == [(0.1, "finished"), (30.0, "stopped")]
    assert [[step for step, _ in one.history] for one in result.trials] == [[2, 4], [2]], "stopped for real"
    assert (result.summary()["steps_spent"], result.summary()["steps_without_stopping"]) == (6, 8)
    assert [shares for _, *shares in result.trials[0].shares] == [[0.0, 1.0, 0.0]] * 2, "cot-only trains Medium"
    assert calls[-1] == (2, 2)
    assert config.load(TrainConfig, result.schedule_yaml) == applied(settings.train, {LOSS: 0.1})
    assert pq.read_table(out / "trials.parquet")["history_step"].to_pylist() == [[2, 4], [2]]
    assert storage.read_json(out / "tune.json")["summary"] == result.summary()
    assert "<polyline" in (out / "report.html").read_text()
    assert tune.tune(dataset, str(out), settings) == result, "the same search again is read, not run"


def _kill_when(file, arguments: list[str]) -> None:
    """Runs the command on the tests' Ray and kills it, without a chance to tidy up, once the file is there."""
    import ray

    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "medclm.cli", *arguments]
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not file.exists():
        if driver.poll() is not None or time.monotonic() > until:
            driver.kill()
            raise AssertionError(driver.communicate())
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
