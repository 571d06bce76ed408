"""One trial: the real training job, inside a Ray Tune trial. What it measures is written down, then told to Tune."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclm import storage
from medclm.config import TrainConfig
from medclm.train.tuning.placement import recorder
from medclm.train.tuning.space import applied
from medclm.train.tuning.trials import Generation, Report, Store, hardest_stage

POLL_S = 0.3
POINTER = "origin.json"
Tell = Callable[[int, int], None]
"""Called with (trials ended, trials)."""


@dataclass(frozen=True)
class Job:
    """What all trials of a search share.

    Attributes:
        resources: what one worker reserves, in Ray's terms.
        branches: whether trials may go on from each other's checkpoints, so that Tune must have them.
        base: a ``tiny`` base that is right for every trial; empty where each makes its own.
    """

    data: str
    out: str
    train: TrainConfig
    metric: str
    resources: dict[str, float]
    branches: bool = False
    base: str = ""

    @property
    def scratch(self) -> str:
        """Where Tune keeps its own state: of this call only, the store knows better."""
        return storage.join(self.out, "ray")

    @property
    def placements(self) -> str:
        """Where runs write down what they reserved."""
        return storage.join(self.scratch, "placements")

    @property
    def store(self) -> Store:
        return Store(self.out, self.metric, self.train.steps)


def run_trial(config: dict[str, Any], job: Job) -> None:
    """The tune function. A trial that was cut off goes on from its last checkpoint.

    The training runs in a thread; its controller writes each measurement to a file, and this loop tells Tune.
    """
    from ray import tune

    name = tune.get_context().get_trial_name()
    generation = begin(job.store, name, config["proposal"]["values"], _pointer(tune.get_checkpoint()))
    told = {report.step for report in generation.reports[:-1]}
    failures: list[BaseException] = []
    thread = threading.Thread(target=_train, args=(job, name, generation, failures), name="train", daemon=True)
    thread.start()
    while True:
        running = thread.is_alive()
        if not running and not failures:
            restore_unwritten(job.store, name, generation.number, job.train.steps + 1)
        for report in _untold(job.store, name, generation.number, told):
            _tell(job, name, report)
        if not running:
            break
        thread.join(POLL_S)
    if failures:
        raise failures[0]


def begin(store: Store, name: str, values: dict[str, Any], pointer: dict[str, Any] | None) -> Generation:
    """The generation that a trial goes on with: its last one, or a new one where Tune had it copy another trial.

    Args:
        pointer: the checkpoint that Tune hands over: ``trial``, ``step``, ``checkpoint``; None without one.
    """
    last = store.generations(name)[-1]
    if pointer is None or pointer["trial"] == name or pointer == last.origin:
        return last
    store.branch(name, last.number + 1, values, pointer)
    return store.generations(name)[-1]


def _train(job: Job, name: str, generation: Generation, failures: list[BaseException]) -> None:
    from medclm.train import launch

    try:
        config = applied(job.train, generation.values)
        folder = Path(job.store.folder(name, f"g{generation.number}"))
        if job.base:
            shutil.copytree(job.base, folder / "base", dirs_exist_ok=True)
        launch.make_base(job.data, folder, config)
        watch = (_report_writer(job, name, generation.number), recorder(job.placements))
        start = generation.origin.get("checkpoint", "")
        run = f"tune-{name}-g{generation.number}"
        launch.fit(job.data, folder, config, run, watch, start=start, resources=job.resources)
    except BaseException as error:  # the trial's own thread raises it
        failures.append(error)


def _report_writer(job: Job, name: str, generation: int) -> Any:
    """Writes down what was measured at the evaluation steps, in Ray Train's controller.

    A report at another step (a checkpoint's) repeats the metric of an earlier one, which nothing must be judged by.
    """
    from ray.train import UserCallback

    class WriteReport(UserCallback):
        def __init__(self) -> None:
            self.last = time.monotonic()

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            found = metrics[0] if metrics else {}
            step = int(found.get("step", 0))
            due = step == job.train.steps or (step > 0 and step % job.train.evaluate_every == 0)
            if due and job.metric in found:
                restore_unwritten(job.store, name, generation, step)
                now = time.monotonic()
                numbers = {key: float(value) for key, value in found.items() if isinstance(value, (int, float))}
                saved = checkpoint.path if checkpoint else ""
                job.store.report(name, generation, Report(step, numbers, now - self.last, saved))
                self.last = now

    return WriteReport()


def restore_unwritten(store: Store, name: str, generation: int, before: int) -> None:
    """Writes down measurements that a kill hit between their checkpoint and their report, from the run's own history.

    Args:
        before: only steps before this one.
    """
    from medclm.train.log import HISTORY

    file = store.folder(name, f"g{generation}", HISTORY)
    if store.metric != "accuracy" or not storage.exists(file):
        return
    written = {report.step for part in store.generations(name) for report in part.reports}
    records = [json.loads(line) for line in storage.read_bytes(file).decode().splitlines()]
    for record in records:
        if record["kind"] == "accuracy" and record["step"] < before and record["step"] not in written:
            metrics = {"step": float(record["step"]), "accuracy": record["accuracy"]}
            store.report(name, generation, Report(record["step"], metrics, 0.0))


def _untold(store: Store, name: str, generation: int, told: set[int]) -> list[Report]:
    """Reports that Tune has not heard of, which it then has."""
    files = storage.list_files(store.folder(name, f"g{generation}", "reports"), "*.json")
    fresh = [file for file in files if int(file.split("/")[-1].removesuffix(".json")) not in told]
    reports = [Report(**storage.read_json(file)) for file in fresh]
    told |= {report.step for report in reports}
    return reports


def _tell(job: Job, name: str, report: Report) -> None:
    from ray import tune

    shares = tuple((r.step, *r.shares) for part in job.store.generations(name) for r in part.reports)
    stage = hardest_stage(tuple(entry for entry in shares if entry[0] <= report.step))
    metrics = {"step": report.step, job.metric: report.metrics[job.metric], "stage": stage}
    if not (job.branches and report.checkpoint):
        tune.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        pointer = {"trial": name, "step": report.step, "checkpoint": report.checkpoint}
        (Path(folder) / POINTER).write_text(json.dumps(pointer))
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def _pointer(checkpoint: Any) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return json.loads((Path(folder) / POINTER).read_text())
