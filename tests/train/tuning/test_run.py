"""One trial: which generation it goes on with, and that it can begin from another run's checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medclm.config import TrainConfig
from medclm.train.tuning import run
from medclm.train.tuning.run import begin
from medclm.train.tuning.trials import Report, Store


def test_a_trial_goes_on_with_its_last_generation_unless_it_copies(tmp_path):
    store = Store(str(tmp_path), "accuracy", 80)
    name = store.begin(0, {"optim.lr": 0.1})
    assert begin(store, name, {"optim.lr": 0.1}, None).number == 0
    own = {"trial": "t000", "step": 20, "checkpoint": "a"}
    assert begin(store, name, {"optim.lr": 0.1}, own).number == 0, "its own checkpoint: it was only paused"
    other = {"trial": "t001", "step": 20, "checkpoint": "b"}
    copied = begin(store, name, {"optim.lr": 0.12}, other)
    assert (copied.number, copied.values, copied.begin) == (1, {"optim.lr": 0.12}, 20)
    store.report(name, 1, Report(40, {"accuracy": 0.5}, 1.0))
    again = begin(store, name, {"optim.lr": 0.12}, other)
    assert (again.number, [report.step for report in again.reports]) == (1, [40]), "restarted before the next copy"


def test_a_measurement_between_checkpoint_and_report_is_not_lost(tmp_path):
    """The run's history has 8 and 16; only 8 was reported before the kill, and 24 comes after it."""
    store = Store(str(tmp_path), "accuracy", 80)
    name = store.begin(0, {"optim.lr": 0.1})
    store.report(name, 0, Report(8, {"accuracy": 0.1}, 2.0))
    lines = [{"kind": "accuracy", "step": step, "accuracy": step / 80} for step in (8, 16, 24)]
    history = "\n".join(json.dumps(line) for line in [{"kind": "numbers", "step": 16, "metrics": {}}, *lines])
    Path(store.folder(name, "g0", "history.jsonl")).write_text(history + "\n")
    run.restore_unwritten(store, name, 0, 24)
    assert store.read(name).history == ((8, 0.1), (16, 0.2))


@pytest.mark.slow
def test_training_begins_from_another_runs_checkpoint(ray_cluster, squares, tiny_dir, tmp_path):
    """Two steps, then a third of another run from there with another weight: the first two are not done again."""
    import ray

    from medclm.train import launch
    from medclm.train.export import newest_checkpoint

    def config(steps: int, localization: float) -> TrainConfig:
        return TrainConfig.model_validate(
            {"model": {"base": str(tiny_dir)}, "steps": steps, "batch_size": 4, "checkpoint_every": 2, "log_every": 1,
             "evaluate_limit": 1, "loss": {"localization": localization}, "schedule": {"name": "cot-only"}}
        )  # fmt: skip

    half = {"CPU": 0.5}
    launch.fit(squares, tmp_path / "first", config(2, 0.0), "first", resources=half)
    start = str(newest_checkpoint(tmp_path / "first"))
    metrics = launch.fit(squares, tmp_path / "second", config(3, 0.5), "second", start=start, resources=half)
    assert metrics["step"] == 3
    saved = list((tmp_path / "second" / "checkpoints").rglob(".metadata"))
    assert len(saved) == 1, "one checkpoint: at step 3, none at 2"
    bundles = [group["bundles"] for group in ray.util.placement_group_table().values()]
    assert {0: half} in bundles, "half a CPU, in a placement group"
