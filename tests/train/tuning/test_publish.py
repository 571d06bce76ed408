"""The files of a finished search."""

from __future__ import annotations

import pyarrow.parquet as pq

from medclm import config, storage
from medclm.config import Choice, TrainConfig, TuneConfig
from medclm.train.tuning.publish import publish, schedule_text
from medclm.train.tuning.result import TuneResult, finished
from medclm.train.tuning.space import applied
from medclm.train.tuning.trials import Generation, Report, Store, Trial

TRAIN = TrainConfig.model_validate({"steps": 321, "optim": {"lr": 1e-3}})


def test_the_schedule_file_loads_as_a_train_config(tmp_path):
    best = {"schedule.easy": 0.125, "loss.localization": 0.5, "optim.min_lr_share": 0.25}
    file = tmp_path / "schedule.yaml"
    file.write_text(schedule_text(TRAIN, Trial("t", best, "finished", 321, 0.5), "found: 0.5"))
    loaded = config.load(TrainConfig, file)
    assert loaded == applied(TRAIN, best)
    assert (loaded.schedule.easy, loaded.loss.localization, loaded.optim.lr, loaded.steps) == (0.125, 0.5, 1e-3, 321)
    assert file.read_text().startswith("# found: 0.5\n")
    assert "batch_size" not in file.read_text(), "what is a default is left out"


def test_values_that_changed_on_the_way_stand_in_comments():
    parts = (Generation(0, {"optim.lr": 0.1}, {}), Generation(1, {"optim.lr": 0.2}, {"trial": "t001", "step": 50}))
    text = schedule_text(TRAIN, Trial("t", {"optim.lr": 0.2}, "finished", 321, 0.5, generations=parts), "note")
    assert "from step 0: {'optim.lr': 0.1}" in text
    assert "lr: 0.2" in text


def test_what_is_published_is_read_again(tmp_path):
    settings = TuneConfig(train=TRAIN, space={"loss.localization": Choice(values=[0.5, 1.0])}, trials=2)
    store = Store(str(tmp_path), "accuracy", 321)
    for number, (value, score) in enumerate(((1.0, 0.25), (0.5, 0.75))):
        name = store.begin(number, {"loss.localization": value})
        metrics = {"accuracy": score, "easy/share": 0.5, "medium/share": 0.5, "hard/share": 0.0}
        store.report(name, 0, Report(321, metrics, 3.0))
        store.end(name)
    trials = tuple(store.all())
    result = TuneResult(trials[1], str(tmp_path / "schedule.yaml"), trials, "accuracy", 321, None, 12.5)
    assert finished(str(tmp_path), "abc", settings) is None
    publish(result, str(tmp_path), settings, "abc")
    assert finished(str(tmp_path), "abc", settings) == result
    assert finished(str(tmp_path), "other", settings) is None
    more = settings.model_copy(update={"trials": 3})
    assert finished(str(tmp_path), "abc", more) is None, "more trials are more to do"
    assert storage.read_json(tmp_path / "tune.json")["summary"] == result.summary()
    assert result.summary()["steps_spent"] == 642
    rows = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert [row["loss.localization"] for row in rows] == [1.0, 0.5]
    assert rows[1] | {"history_step": [321], "history_accuracy": [0.75], "share_medium": [0.5]} == rows[1]
