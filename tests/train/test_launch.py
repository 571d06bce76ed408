"""One real run: two FSDP workers on the shared Ray, then what the run leaves behind."""

import json
from pathlib import Path

import pytest
import torch

from medclm import config as configs
from medclm.config import TrainConfig
from medclm.errors import MedclmError, UsageError
from medclm.train import launch
from medclm.train.export import export_run, newest_checkpoint
from medclm.train.model import load_exported
from tests.train.conftest import TINY, make_record, write_dataset

SMALL = {
    "model": {"tiny": TINY},
    "schedule": {"name": "uniform"},
    "optim": {"lr": 1e-3},
    "steps": 4,
    "batch_size": 8,
    "accumulate": 2,
    "workers": 2,
    "checkpoint_every": 2,
    "evaluate_limit": 6,
    "log_every": 2,
}


def small(**changes) -> TrainConfig:
    return TrainConfig.model_validate({**SMALL, **changes})


@pytest.fixture(scope="module")
def run(ray_cluster, squares, tmp_path_factory):
    """(folder, result, progress calls) of one finished run."""
    folder, calls = tmp_path_factory.mktemp("run"), []
    result = launch.train(squares, str(folder), small(), lambda *call: calls.append(call))
    return folder, result, calls


def test_it_trains_reports_and_exports(run):
    folder, result, calls = run
    assert result.steps == 4
    assert result.metrics["step"] == 4
    assert 0 <= result.metrics["accuracy"] <= 1
    assert 0 < result.metrics["mass_in_box"] < 1
    assert calls[-1][:2] == (4, 4)
    assert list((folder / "tensorboard").glob("events*"))
    loaded = load_exported(result.model_dir, "cpu")
    assert loaded.info["steps"] == 4
    assert loaded.info["trained_on"] == json.loads((folder / "run.json").read_text())["data"]["content_hash"]
    assert loaded.family.frame_size == 32


def test_training_changed_the_weights_that_were_exported(run):
    from safetensors.torch import load_file

    folder, result, _ = run
    base, trained = load_file(folder / "base/model.safetensors"), load_file(f"{result.model_dir}/model.safetensors")
    assert base.keys() == trained.keys()
    assert all(not torch.equal(base[name], trained[name]) for name in base if name.endswith("proj.weight"))


def test_the_same_command_again_returns_at_once(run, squares):
    folder, result, _ = run
    again = launch.train(squares, str(folder), small())
    assert (again.metrics, again.seconds) == (result.metrics, result.seconds)


def test_another_config_does_not_overwrite_the_run(run, squares):
    with pytest.raises(UsageError, match="another training run") as caught:
        launch.train(squares, str(run[0]), small(steps=5))
    assert "steps" in str(caught.value)


def test_export_to_another_place(run, tmp_path):
    exported = load_exported(export_run(run[0], tmp_path / "model"), "cpu")
    first = load_exported(run[1].model_dir, "cpu")
    pairs = zip(exported.model.parameters(), first.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_resuming_on_two_ranks_is_bit_for_bit(ray_cluster, run, squares):
    """In two real workers: steps 0-3 in one go equal steps 0-1, checkpoint, a fresh model, steps 2-3."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def worker(settings):
        import ray.train

        from medclm.train import checkpoint, parallel
        from medclm.train.data import Position
        from medclm.train.loop import feed, prepare, rows_of, update
        from medclm.train.meter import Meter

        parallel.SMALLEST_UNIT = 0  # every block is a unit of its own, as in a large model

        def steps(run, first, position, saves=None):
            rows = rows_of(settings)
            rows.position = position
            for step, batches, after in feed(run, rows, first):
                update(run, batches, step, Meter())
                if saves and step == 1:
                    checkpoint.save(saves, run.model, run.optimizer, 2, after)
            return [p.full_tensor().detach().clone() for p in run.parameters]

        whole = prepare(settings)
        folder = settings["checkpoints"]
        wanted = steps(whole, 0, Position(), folder)
        torch.distributed.barrier()
        resumed = prepare(settings)
        found = steps(resumed, *checkpoint.load(folder, resumed.model, resumed.optimizer))
        same = sum(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
        counted = json.dumps({"same": same, "all": len(wanted)})
        Path(folder, f"same-{ray.train.get_context().get_world_rank()}.json").write_text(counted)

    folder = run[0]
    settings = {"config": small().model_dump(mode="json"), "data": squares, "base": str(folder / "base")}
    trainer = TorchTrainer(
        worker,
        train_loop_config={**settings, "checkpoints": str(folder / "resume-test")},
        scaling_config=ScalingConfig(num_workers=2),
        torch_config=TorchConfig(backend="gloo"),
        run_config=RunConfig(name="resume", storage_path=str(folder / "ray")),
    )
    trainer.fit()
    for rank in range(2):
        counted = json.loads((folder / "resume-test" / f"same-{rank}.json").read_text())
        assert counted["same"] == counted["all"] > 20


def test_lora_run_exports_an_adapter_and_merged_weights(ray_cluster, squares, tmp_path):
    lora = small(model={"tiny": TINY, "finetune": "lora", "lora_rank": 2}, steps=2, workers=1, accumulate=1)
    result = launch.train(squares, str(tmp_path / "run"), lora)
    assert (tmp_path / "run/model/adapter_model.safetensors").is_file()
    adapter = load_exported(result.model_dir, "cpu").model
    merged = load_exported(export_run(tmp_path / "run", tmp_path / "merged", merge=True), "cpu").model
    assert not (tmp_path / "merged/adapter_config.json").exists()
    for (name, a), (_, b) in zip(adapter.named_parameters(), merged.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


def test_missing_dataset(tmp_path):
    with pytest.raises(UsageError, match="not a built dataset"):
        launch.train(str(tmp_path), str(tmp_path / "out"), small())


def test_fewer_rows_than_workers(tmp_path):
    data = write_dataset(tmp_path / "data", [make_record(0), make_record(1, "test")])
    with pytest.raises(UsageError, match="fewer training rows"):
        launch.train(data, str(tmp_path / "out"), small())


def test_a_batch_that_does_not_divide(squares, tmp_path):
    with pytest.raises(UsageError, match="does not divide"):
        launch.train(squares, str(tmp_path / "out"), small(batch_size=6))


def test_unknown_base(squares, tmp_path):
    with pytest.raises(UsageError, match="base model cannot be loaded"):
        launch.train(squares, str(tmp_path / "out"), small(model={"base": "nowhere/at-all"}))


def test_lora_targets_that_match_nothing(tiny_dir):
    from medclm.train.model import add_lora, load_base

    loaded = load_base(str(tiny_dir))
    with pytest.raises(MedclmError, match="match no module"):
        add_lora(loaded.model, loaded.family, 2, 4, 0.0, targets="no_such_module")


def test_export_without_a_checkpoint(tmp_path):
    with pytest.raises(UsageError, match="not a training run"):
        export_run(tmp_path, tmp_path / "to")
    with pytest.raises(UsageError, match="no checkpoint"):
        newest_checkpoint(tmp_path)


def test_not_an_exported_model(tmp_path):
    with pytest.raises(UsageError, match="not an exported model"):
        load_exported(tmp_path)


def test_the_demo_recipe_is_a_valid_config():
    from importlib.resources import files

    recipe = configs.load(TrainConfig, str(files("medclm.train") / "demo.yaml"))
    assert recipe.model.base == "tiny"
    assert recipe.workers == 2
