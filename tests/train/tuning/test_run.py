"""One trial: which generation it goes on with, and that it can begin from another run's checkpoint."""

from __future__ import annotations

from medclm.config import TrainConfig
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


def test_training_begins_from_another_runs_checkpoint(ray_cluster, squares, tiny_dir, tmp_path):
    """Two steps, then two more of another run from there with another weight: the steps before are not done again."""
    import ray.train
    from ray.train.torch import TorchTrainer

    from medclm.train.loop import train_worker

    def settings(steps: int, localization: float, start: str = "") -> dict:
        config = TrainConfig.model_validate(
            {"steps": steps, "batch_size": 4, "checkpoint_every": 2, "evaluate_limit": 1, "log_every": 1,
             "loss": {"localization": localization}, "optim": {"lr": 1e-3}}
        )  # fmt: skip
        return {"config": config.model_dump(mode="json"), "data": squares, "base": str(tiny_dir), "start": start}

    def fit(name: str, given: dict):
        storage = ray.train.RunConfig(name=name, storage_path=str(tmp_path))
        scaling = ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5})
        return TorchTrainer(train_worker, train_loop_config=given, scaling_config=scaling, run_config=storage).fit()

    first = fit("first", settings(2, 0.0))
    second = fit("second", settings(3, 0.5, first.checkpoint.path))
    assert [first.metrics["step"], second.metrics["step"]] == [2, 3]
    assert len(list((tmp_path / "second").glob("checkpoint_*/.metadata"))) == 1, "one checkpoint: at step 3, none at 2"
    bundles = [group["bundles"] for group in ray.util.placement_group_table().values()]
    assert any(bundle == {0: {"CPU": 0.5}} for bundle in bundles), "half a CPU, in a placement group"
