"""The search: choosing, the schedule file, ASHA's cut, and a real search over real training runs."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from medclm import config, storage
from medclm.config import Choice, TrainConfig, TuneConfig
from medclm.errors import MedclmError, UsageError
from medclm.train import trials, tune
from medclm.train.trials import Trial, choose
from tests.hand_dataset import make_record, write_dataset


def trial(name: str, step: int, score: float | None, status: str = "finished") -> Trial:
    return Trial(name, {"schedule.easy": 0.1}, status, step, score, (), 1.0)


def test_best_is_chosen_among_those_that_went_furthest():
    tried = (trial("a", 50, 0.9, "stopped"), trial("b", 100, 0.5), trial("c", 100, 0.7), trial("d", 100, 0.7))
    assert choose(tried).name == "c", "the earlier of equals; a stopped trial's 0.9 is of another step"
    assert choose(tried, "min").name == "b"
    assert choose((trial("x", 0, None), trial("y", 100, 0.9, "failed"))) is None


def test_the_schedule_file_loads_as_a_train_config(tmp_path):
    train = TrainConfig.model_validate({"steps": 321, "optim": {"lr": 1e-3}})
    best = {"schedule.easy": 0.125, "loss.localization": 0.5, "optim.min_lr_share": 0.25}
    file = tmp_path / "schedule.yaml"
    file.write_text(trials.schedule_text(train, best, "found: 0.5"))
    loaded = config.load(TrainConfig, file)
    assert loaded == tune.applied(train, best)
    assert (loaded.schedule.easy, loaded.loss.localization, loaded.optim.lr, loaded.steps) == (0.125, 0.5, 1e-3, 321)
    assert file.read_text().startswith("# found: 0.5\n")
    assert "batch_size" not in file.read_text(), "what is a default is left out"


def test_trials_are_evaluated_when_asha_looks():
    assert tune._compared(TuneConfig(grace_steps=50)).evaluate_every == 50
    assert tune._compared(TuneConfig(grace_steps=50, train=TrainConfig(steps=20))).evaluate_every == 20
    assert tune._compared(TuneConfig(train=TrainConfig(evaluate_every=7))).evaluate_every == 7


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """24 pictures made by hand, every third of the validate split."""
    records = [make_record(n, "validate" if n % 3 == 0 else "train", n % 2 == 0) for n in range(24)]
    return write_dataset(tmp_path_factory.mktemp("hand"), records)


def test_a_wrong_space_fails_before_anything_starts(dataset, tmp_path):
    settings = TuneConfig(space={"loss.localisation": Choice(low=0, high=1)})
    with pytest.raises(UsageError, match=r"did you mean 'loss[.]localization'"):
        tune.tune(dataset, str(tmp_path / "out"), settings)
    assert not (tmp_path / "out").exists()


def settings_of(**changes) -> TuneConfig:
    small = {
        "image_size": 48,
        "patch_size": 12,
        "vision_width": 32,
        "vision_layers": 1,
        "text_width": 32,
        "text_layers": 2,
    }
    train = {
        "model": {"tiny": {**small, "heads": 2, "vocabulary": 400}},
        "steps": 4, "batch_size": 4, "evaluate_every": 2, "evaluate_limit": 4, "checkpoint_every": 4, "log_every": 1,
    }  # fmt: skip
    space = {"schedule.easy": {"low": 0.0, "high": 0.6}, "loss.localization": {"low": 0.03, "high": 3, "log": True}}
    return TuneConfig.model_validate(
        {"train": train, "space": space, "trials": 2, "concurrent": 2, "grace_steps": 4, **changes}
    )


def test_a_real_search_over_real_training(ray_cluster, dataset, tmp_path):
    calls: list[tuple[int, int]] = []
    out = str(tmp_path / "out")
    settings = settings_of()
    result = tune.tune(dataset, out, settings, progress=lambda done, total: calls.append((done, total)))
    assert [one.status for one in result.trials] == ["finished", "finished"]
    assert [[step for step, _ in one.history] for one in result.trials] == [[2, 4], [2, 4]]
    assert result.trials[0].values == {"schedule.easy": 0.3, "loss.localization": 1.0}, (
        "the untuned values are tried first"
    )
    assert calls[-1] == (2, 2)
    loaded = config.load(TrainConfig, result.schedule_yaml)
    assert loaded == tune.applied(settings.train, result.best.values)
    table = pq.read_table(tmp_path / "out" / "trials.parquet").to_pylist()
    assert [row["schedule.easy"] for row in table] == [one.values["schedule.easy"] for one in result.trials]
    assert [row["history_step"] for row in table] == [[2, 4], [2, 4]]
    assert storage.read_json(tmp_path / "out" / "tune.json")["summary"] == result.summary()
    runs = {path.name for path in (tmp_path / "out" / "trials").iterdir()}
    assert runs == {one.name for one in result.trials}
    assert tune.tune(dataset, out, settings) == result, "the same search again is read, not run"


def test_bad_trials_really_stop_early(ray_cluster, dataset, tmp_path, monkeypatch):
    """Ray Tune and ASHA as they are, with a training loop whose accuracy is its own parameter."""

    def known_accuracy(values, data, out, train, metric):  # local: Ray sends it by value
        from ray import tune as ray_tune

        for step in range(1, train.steps + 1):
            ray_tune.report({"step": step, metric: values["loss.localization"]})

    monkeypatch.setattr(tune, "run_trial", known_accuracy)
    space = {"loss.localization": {"values": [0.1, 0.2, 0.9]}}
    result = tune.tune(dataset, str(tmp_path / "out"), settings_of(space=space, trials=8, concurrent=1, grace_steps=1))
    good = {one.status for one in result.trials if one.values["loss.localization"] == 0.9}
    steps = [one.step for one in result.trials if one.values["loss.localization"] < 0.9]
    assert good == {"finished"}
    assert min(steps) < 4
    assert result.best.values == {"loss.localization": 0.9}
    summary = result.summary()
    assert summary["steps_spent"] < summary["steps_without_stopping"] == 32
    assert summary["trials"]["stopped"] >= 1


def test_failed_trials_are_told(ray_cluster, dataset, tmp_path, monkeypatch):
    def broken(values, data, out, train, metric):
        raise OSError("the disk is full")

    monkeypatch.setattr(tune, "run_trial", broken)
    with pytest.raises(MedclmError, match="no trial reported the metric") as caught:
        tune.tune(dataset, str(tmp_path / "out"), settings_of())
    assert "the disk is full" in str(caught.value)
