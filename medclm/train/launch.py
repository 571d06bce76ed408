"""``medclm train``: one run on Ray Train, named by what makes it, resumed when it is run again, exported at its end."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclm import __version__, session, storage
from medclm.config import TrainConfig
from medclm.errors import MedclmError, UsageError
from medclm.train.board import Progress, watched
from medclm.train.export import RUN, base_of, export_run
from medclm.train.loop import STOP
from medclm.train.run_report import write_run_report

DONE, FATAL = "train.json", "fatal.json"

_NOT_CONTENT = {
    "threads", "log_every", "keep_checkpoints", "max_failures", "workers", "min_workers", "checkpoint_every",
    "evaluate_every", "evaluate_limit", "tracker", "peak_tflops",
}  # fmt: skip
"""Config keys that do not change what is learnt: a run may go on with others. (Another number of workers adds the same
numbers up in another order.)"""


@dataclass(frozen=True)
class TrainResult:
    """What a run made. ``seconds`` is the wall time of the call that finished it."""

    model_dir: str
    metrics: dict[str, float]
    steps: int
    seconds: float


def train(
    data: str,
    out: str,
    config: TrainConfig,
    progress: Progress | None = None,
    *,
    callbacks: tuple[Any, ...] | list[Any] = (),
    name: str | None = None,
) -> TrainResult:
    """Trains and exports to ``out/model``. A finished run returns at once, an interrupted one goes on.

    Args:
        data: a built dataset.
        out: the run's directory, on storage that all workers see: ``model/``, ``checkpoints/``, ``report.html``,
            ``history.jsonl``, ``tensorboard/``, ``base/`` (tiny only), ``run.json`` (what the run is), ``train.json``
            (written last: metrics, seconds).
        callbacks, name: see :func:`fit`; the name is made from the fingerprint when it is not given.

    Raises:
        UsageError: no dataset, too few rows, an unknown base, a batch that does not divide, ``out`` of another run.
        MedclmError: training failed more often than ``config.max_failures``.
    """
    start = time.monotonic()
    folder = Path(out).absolute()
    run = describe(data, config)
    claim(folder, run)
    if (folder / DONE).is_file():
        done = storage.read_json(folder / DONE)
        return TrainResult(str(folder / "model"), done["metrics"], done["steps"], done["seconds"])
    make_base(data, folder, config)
    with session.ray_session(), stop_on_sigterm(folder):
        metrics = fit(data, folder, config, name or f"train-{run['fingerprint']}", callbacks, progress)
    export_run(folder, folder / "model")
    write_run_report(folder, data)
    seconds = time.monotonic() - start
    finished = {**run, "metrics": metrics, "steps": config.steps, "seconds": seconds}
    storage.publish_json(folder / DONE, finished)
    return TrainResult(str(folder / "model"), metrics, config.steps, seconds)


def describe(data: str, config: TrainConfig) -> dict[str, Any]:
    """What makes a run (config, data, streams, version) and its fingerprint.

    Raises:
        UsageError: the dataset is missing, has too few training rows, or the batch does not divide.
    """
    from medclm.data.shards import read_manifest
    from medclm.train.data import fragments_of, stream_count

    manifest = read_manifest(data)
    rows = manifest["counts"].get("splits", {}).get("train", 0)
    if rows < config.workers:
        raise UsageError(
            "the dataset has fewer training rows than there are workers",
            where=data, expected=f"at least {config.workers}", got=rows, remedy="build more, or use fewer workers",
        )  # fmt: skip
    streams = stream_count(len(fragments_of(data, "train")), config.batch_size, config.workers)
    smallest = config.batch_size // streams * (streams // config.workers)
    if smallest < config.accumulate:
        raise UsageError(
            "a worker's part of a batch cannot be cut into so many micro-batches",
            expected=f"accumulate at most {smallest}", got=config.accumulate,
            remedy="use a larger batch_size, fewer workers or a smaller accumulate",
        )  # fmt: skip
    what = {
        "config": config.model_dump(mode="json", exclude=_NOT_CONTENT),
        "data": {"content_hash": manifest["content_hash"], "rows": manifest["rows"]},
        "streams": streams,
        "medclm_version": __version__,
    }
    return {**what, "fingerprint": storage.fingerprint(what)}


def claim(folder: Path, run: dict[str, Any]) -> None:
    """Writes ``run.json``, or checks that the one that is there is of the same run."""
    if not (folder / RUN).is_file():
        storage.publish_json(folder / RUN, run)
        return
    there = storage.read_json(folder / RUN)
    if there["fingerprint"] != run["fingerprint"]:
        changed = sorted(key for key in run["config"] if there["config"].get(key) != run["config"][key])
        raise UsageError(
            "the directory holds another training run",
            where=folder,
            got=f"different: {', '.join(changed) or 'the data or the medclm version'}",
            remedy="choose another --out, or delete this one",
        )


def make_base(data: str, folder: Path, config: TrainConfig) -> None:
    """Makes the ``tiny`` base once, from the texts of the training split; other bases are checked to be known."""
    if config.model.base != "tiny":
        from medclm.train.model import check_base

        check_base(config.model.base)
        return
    if (folder / "base" / "config.json").is_file():
        return
    from medclm.data.shards import read_records
    from medclm.train.tiny import TinySize, make_tiny
    from medclm.train.views import training_text

    texts = [training_text(q) for record in read_records(data, "train", 5000) for q in record.questions]
    make_tiny(texts, folder / "base", config.seed, TinySize(**config.model.tiny.model_dump()))


def fit(
    data: str, folder: Path, config: TrainConfig, name: str, callbacks: tuple[Any, ...] | list[Any] = (),
    progress: Progress | None = None, *, start: str = "", resources: dict[str, float] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Runs the workers on the connected Ray and returns the last reported metrics.

    Args:
        folder: of the run; the base is in ``folder/base``.
        name: of the Ray Train run; the same name in the same folder goes on from its last checkpoint.
        callbacks: for ``ray.train.RunConfig``.
        start: a checkpoint of another run to begin from, where this one has none of its own yet.
        resources: what one worker reserves, e.g. ``{"CPU": 1, "GPU": 0.5}``; Ray's own choice when None.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = session.has_gpus()
    for marker in (FATAL, STOP):
        (folder / marker).unlink(missing_ok=True)
    least = min(config.min_workers or config.workers, config.workers)
    with watched(progress, config.steps) as board:
        settings = {
            "config": config.model_dump(mode="json"),
            "data": storage.absolute(data),
            "base": base_of(folder, config),
            "out": str(folder),
            "streams": describe(data, config)["streams"],
            "board": board,
            "start": start,
        }
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config=settings,
            scaling_config=ray.train.ScalingConfig(
                num_workers=config.workers if least == config.workers else (least, config.workers),  # type: ignore[arg-type]
                use_gpu=gpu,
                resources_per_worker=resources,
            ),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=str(folder / "checkpoints"),
                failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=config.keep_checkpoints),
                callbacks=list(callbacks),
            ),
        )
        result = _fit(trainer)
    if (folder / FATAL).is_file():
        raise MedclmError(**storage.read_json(folder / FATAL))
    if (folder / STOP).is_file():
        raise MedclmError(
            "training was asked to stop", where=folder, got=f"step {(result.metrics or {}).get('step')}",
            remedy="the same command resumes",
        )  # fmt: skip
    if (result.metrics or {}).get("step") != config.steps:
        raise MedclmError(
            "training ended early", where=folder, expected=f"step {config.steps}",
            got=f"step {(result.metrics or {}).get('step')}", remedy="run it again: it resumes",
        )  # fmt: skip
    if progress:
        progress(config.steps, config.steps, result.metrics or {})
    return {key: value for key, value in (result.metrics or {}).items() if math.isfinite(value)}


def _train_worker(settings: dict[str, Any]) -> None:
    """The loop, and the end of a run that cannot go on.

    An error of ours would come back with every restart. The worker that finds it writes it down and fails; the workers
    that are started afterwards see it and return, and the launcher raises it.
    """
    from medclm.train.loop import train_worker

    fatal = Path(settings["out"]) / FATAL
    if fatal.is_file():
        return
    try:
        train_worker(settings)
    except MedclmError as error:
        details = {key: None if value is None else str(value) for key, value in error.details.items()}
        storage.publish_json(fatal, {"what": error.what, **details, "exit_code": error.exit_code})
        raise


def _fit(trainer: Any) -> Any:
    """``trainer.fit()``; a worker's own :class:`MedclmError` is raised as it was."""
    from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

    try:
        return trainer.fit()
    except WorkerGroupError as error:
        for failure in error.worker_failures.values():
            cause: BaseException | None = failure
            while cause is not None and not isinstance(cause, MedclmError):
                cause = getattr(cause, "cause", None) or cause.__cause__
            if cause is not None:
                raise cause from error
        raise MedclmError("training failed", got=error, remedy="run it again: it resumes") from error
    except TrainingFailedError as error:
        raise MedclmError("training failed", got=error, remedy="run it again: it resumes") from error


@contextmanager
def stop_on_sigterm(folder: Path) -> Iterator[None]:
    """SIGTERM (`ray job stop`, a batch system's time limit) makes the run save a checkpoint and end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: (folder / STOP).touch())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
