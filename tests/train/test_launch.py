"""One real run: two FSDP workers on the shared Ray, then what the run leaves behind."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch

from medclm import config as configs
from medclm.config import TrainConfig
from medclm.errors import MedclmError, UsageError
from medclm.train import launch
from medclm.train.export import export_run, newest_checkpoint
from medclm.train.log import HISTORY, read_history
from medclm.train.loop import STOP
from medclm.train.model import load_exported
from tests.train.conftest import TINY, make_record, write_dataset

SMALL = {
    "model": {"tiny": TINY},
    "schedule": {"name": "competence", "window": 3, "history": 0.5, "shortest": 0.1, "probe_questions": 8},
    "optim": {"lr": 1e-3},
    "steps": 12,
    "batch_size": 8,
    "accumulate": 2,
    "bucket_steps": 2,
    "workers": 2,
    "checkpoint_every": 2,
    "evaluate_limit": 6,
    "log_every": 1,
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
    assert result.steps == 12
    assert result.metrics["step"] == 12
    assert 0 <= result.metrics["accuracy"] <= 1
    assert 0 < result.metrics["mass_in_box"] < 1
    assert calls[-1][:2] == (12, 12)
    assert list((folder / "tensorboard").glob("events*"))
    loaded = load_exported(result.model_dir, "cpu")
    assert loaded.info["steps"] == 12
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


def weights(model_dir):
    from safetensors.torch import load_file

    return load_file(f"{model_dir}/model.safetensors")


def workers():
    """The processes of the running training workers of this session's Ray."""
    import psutil
    import ray

    session = ray._private.worker._global_node.get_session_dir_path()  # other people's Ray may run here, too
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if "RayTrainWorker" in words and any(session in " ".join(p.cmdline()) for p in process.parents()):
            found.append(process)
    return found


def test_a_killed_worker_changes_no_bit(run, squares, tmp_path):
    """kill -9 of a worker between two checkpoints: the run goes on by itself and ends with the same weights."""
    killed = []

    def kill(step, steps, metrics):
        if step >= 5 and not killed:
            killed.append(workers()[step % 2])
            killed[0].kill()

    result = launch.train(squares, str(tmp_path / "killed"), small(), kill)
    assert killed
    wanted, found = weights(run[1].model_dir), weights(result.model_dir)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    steps = [r["step"] for r in read_history(tmp_path / "killed" / HISTORY) if r["kind"] == "numbers"]
    assert steps == list(range(1, 13))


def test_a_stopped_run_goes_on_with_another_number_of_workers(run, squares, tmp_path):
    """Stopped on request with one worker, then finished by two: the same data, so the same weights but for rounding."""
    folder = tmp_path / "stopped"

    def stop(step, steps, metrics):
        if step >= 3:
            (folder / STOP).touch()

    with pytest.raises(MedclmError, match="asked to stop"):
        launch.train(squares, str(folder), small(workers=1, checkpoint_every=100), stop)
    result = launch.train(squares, str(folder), small(workers=2, checkpoint_every=100))
    wanted, found = weights(run[1].model_dir), weights(result.model_dir)
    assert all(torch.allclose(wanted[name], found[name], atol=2e-4) for name in wanted)


@pytest.mark.slow
def test_a_run_begins_with_fewer_workers_where_the_cluster_is_small(ray_cluster, tmp_path):
    """Eight workers are wanted on four CPUs and one would do: the same batches are made by as many as there is room."""
    records = [make_record(n, "train" if n < 32 else "validate") for n in range(36)]
    data, sizes = write_dataset(tmp_path / "data", records, shard_rows=2), []
    elastic = small(workers=8, min_workers=1, checkpoint_every=100, accumulate=1)
    result = launch.train(data, str(tmp_path / "elastic"), elastic, lambda *_: sizes.append(len(workers())))
    assert result.steps == 12
    assert 1 <= max(sizes) <= 4
    one = launch.train(data, str(tmp_path / "two"), small(workers=2, checkpoint_every=100, accumulate=1))
    wanted, found = weights(one.model_dir), weights(result.model_dir)
    assert all(torch.allclose(wanted[name], found[name], atol=2e-4) for name in wanted)


@pytest.mark.slow
def test_sigterm_saves_ends_and_the_same_command_goes_on(run, squares, tmp_path):
    """`medclm train` as a batch system stops it: a process of its own, told to end between two checkpoints."""
    import signal
    import subprocess
    import sys

    folder, file = tmp_path / "stopped", tmp_path / "train.yaml"
    file.write_text(json.dumps(small(checkpoint_every=1000).model_dump(mode="json")))
    command = [sys.executable, "-m", "medclm.cli", "train", "--data", squares, "--out", str(folder)]
    command += ["--config", str(file)]
    end = time.monotonic() + 240
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not [r for r in read_history(folder / HISTORY) if r["kind"] == "numbers" and r["step"] >= 3]:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end or process.kill(), "no third step within four minutes"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "asked to stop" in said
    assert newest_checkpoint(folder)
    again = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    assert "Trained" in again.stdout
    steps = [r["step"] for r in read_history(folder / HISTORY) if r["kind"] == "numbers"]
    assert steps == list(range(1, 13))
    wanted, found = weights(run[1].model_dir), weights(folder / "model")
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_every_rank_saves_and_loads_its_own_slice(ray_cluster, run, squares, tmp_path):
    """Each rank fills its slice of the adapter with its own number; saved, zeroed, loaded, compared."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def worker(settings):
        import ray.train

        from medclm.train import checkpoint, parallel
        from medclm.train.setup import prepare

        parallel.SMALLEST_UNIT = 0  # every block is a unit of its own, as in a large model
        run, rank = prepare(settings), ray.train.get_context().get_world_rank()
        for number, parameter in enumerate(run.parameters):
            parameter.to_local().data.fill_(100.0 * (rank + 1) + number)
        checkpoint.save(settings["to"], run.model, run.optimizer, checkpoint.Progress(1))
        torch.distributed.barrier()
        for parameter in run.parameters:
            parameter.to_local().data.zero_()
        checkpoint.load(settings["to"], run.model, run.optimizer)
        right = [bool((p.to_local() == 100.0 * (rank + 1) + n).all()) for n, p in enumerate(run.parameters)]
        sizes = [p.to_local().numel() for p in run.parameters]
        Path(settings["to"], f"found-{rank}.json").write_text(json.dumps({"right": right, "sizes": sizes}))

    config = small(model={"tiny": TINY, "finetune": "lora", "lora_rank": 4})
    to = tmp_path / "slices"
    to.mkdir()
    base, settings = str(run[0] / "base"), config.model_dump(mode="json")
    TorchTrainer(
        worker,
        train_loop_config={"config": settings, "data": squares, "base": base, "streams": 4, "to": str(to)},
        scaling_config=ScalingConfig(num_workers=2),
        torch_config=TorchConfig(backend="gloo"),
        run_config=RunConfig(name="slices", storage_path=str(tmp_path / "ray")),
    ).fit()
    found = [json.loads((to / f"found-{rank}.json").read_text()) for rank in range(2)]
    assert all(right for rank in found for right in rank["right"])
    assert all(sum(rank["sizes"]) > 0 for rank in found)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_row(run, tmp_path):
    """The embedding of one question's words is made infinite: only that row can be at fault."""
    from safetensors.torch import save_file

    records = [make_record(n, "train" if n < 16 else "validate") for n in range(20)]
    data = write_dataset(tmp_path / "data", records)
    base = tmp_path / "base"
    shutil.copytree(run[0] / "base", base)
    tensors = weights(base)
    name = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    broken = small(model={"base": str(base)}, workers=1, checkpoint_every=100, max_failures=3)
    with pytest.raises(MedclmError, match="loss is not finite") as caught:
        launch.train(data, str(tmp_path / "run"), broken)
    assert "step 0" in str(caught.value)
    assert "image-" in str(caught.value)


def test_lora_run_exports_an_adapter_and_merged_weights(ray_cluster, squares, tmp_path):
    lora = small(
        model={"tiny": TINY, "finetune": "lora", "lora_rank": 2},
        loss={"localization_choose": 2},  # heads chosen by measurement, over several workers' common base
        parallel={"checkpoint_activations": True},
        steps=2,
        workers=1,
        accumulate=1,
    )
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


def test_more_micro_batches_than_a_worker_has_places(squares, tmp_path):
    with pytest.raises(UsageError, match="so many micro-batches"):
        launch.train(squares, str(tmp_path / "out"), small(accumulate=5))


def test_a_batch_that_cannot_be_dealt(squares, tmp_path):
    with pytest.raises(UsageError, match="so many workers"):
        launch.train(squares, str(tmp_path / "out"), small(batch_size=7, accumulate=1))


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
