"""What a run writes down while it trains: curves, the schedule's decisions, sample answers; for people and reports.

``OUT/history.jsonl``, one line a record, ``kind`` first::

    numbers   step, metrics, drawn {domain/stage: examples since the last}
    schedule  step, domains {domain: {shares, gap, stage, why}}
    accuracy  step, accuracy
    samples   step, samples [{image_id, question, answer, text}]
"""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medclm.errors import MedclmError

if TYPE_CHECKING:
    from medclm.train.course import Course
    from medclm.train.setup import Run

HISTORY = "history.jsonl"
SAMPLES = 6
"""Answers that are kept of each held-out evaluation."""


class Tracker(Protocol):
    """Where curves go."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class Log:
    """Rank 0 writes, the other ranks only keep ``latest``, which every rank reports to Ray Train.

    Args:
        run: being trained.
        first: steps done before; what an interrupted attempt wrote after them is taken out.
    """

    def __init__(self, run: Run, first: int) -> None:
        self.latest: dict[str, float] = {}
        self._run, self._peak = run, _peak(run)
        self._board = run.settings.get("board") if run.rank == 0 else None
        self._file: Path | None = None
        self._tracker: Tracker | None = None
        if run.rank == 0 and run.settings.get("out"):
            self._file = Path(run.settings["out"]) / HISTORY
            _cut(self._file, first)
            self._tracker = tracker(run.config.tracker, Path(run.settings["out"]), first)

    def numbers(self, step: int, metrics: dict[str, float], drawn: dict[str, int]) -> None:
        """The metrics of the steps since the last call; ``drawn``: examples by ``domain/stage``."""
        for n, group in enumerate(self._run.optimizer.param_groups):
            metrics[f"lr/{group.get('name', n)}"] = group["lr"]
        if "tflops" in metrics and self._peak:
            metrics["mfu"] = metrics["tflops"] / self._peak
        metrics["memory_gb"] = _memory_gb(self._run.device)
        self._put(step, metrics)
        self._write({"kind": "numbers", "step": step, "metrics": metrics, "drawn": drawn})

    def schedule(self, step: int, course: Course) -> None:
        """What the schedule decided after a window."""
        domains = course.newest.get("domains") or course.newest.get("means") or {}
        found = {
            domain: {
                "shares": course.shares(max(0, step - 1), domain),
                **{key: state[key] for key in ("gap", "stage", "why", "hard") if key in state},
            }
            for domain, state in domains.items()
        }
        self._write({"kind": "schedule", "step": step, "domains": found})

    def accuracy(self, step: int, value: float) -> None:
        self._put(step, {"accuracy": value})
        self._write({"kind": "accuracy", "step": step, "accuracy": value})

    def samples(self, step: int, pairs: Any, texts: list[str]) -> None:
        """The first answers of this rank's ``pairs``."""
        found = [
            {"image_id": record.image_id, "question": question.question, "answer": question.answer, "text": text}
            for (record, question), text in list(zip(pairs, texts, strict=False))[:SAMPLES]
        ]
        self._write({"kind": "samples", "step": step, "samples": found})

    def report(self, checkpoint: Any = None) -> None:
        """Tells Ray Train; all ranks call it together. The checkpoint is uploaded behind the loop, then deleted here.

        Ray keeps a reported dict until its controller asks for it, so a copy is handed over.
        """
        import ray.train

        if checkpoint is None:
            ray.train.report(dict(self.latest))
        else:
            mode = ray.train.CheckpointUploadMode.ASYNC
            ray.train.report(dict(self.latest), checkpoint=checkpoint, checkpoint_upload_mode=mode)

    def close(self) -> None:
        if self._tracker is not None:
            self._tracker.close()

    def _put(self, step: int, metrics: dict[str, float]) -> None:
        self.latest |= {"step": step, **metrics}
        if self._tracker is not None:
            self._tracker.scalars(step, metrics)
        if self._board is not None:
            self._board.put.remote(dict(self.latest))

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            with self._file.open("a") as handle:
                handle.write(json.dumps(record) + "\n")


def read_history(file: Path) -> list[dict[str, Any]]:
    """The records of ``history.jsonl``; a last line that was cut short is left out."""
    records = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def _cut(file: Path, first: int) -> None:
    """Takes out what is of steps after ``first``."""
    kept = [record for record in read_history(file) if record["step"] <= first]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in kept))


def tracker(name: str, out: Path, first: int) -> Tracker:
    """``tensorboard`` (``OUT/tensorboard``) or ``mlflow``.

    Args:
        first: steps done: later ones of an earlier attempt are left out.

    Raises:
        MedclmError: mlflow is not installed.
    """
    return TensorBoard(out / "tensorboard", first) if name == "tensorboard" else MLflow(out)


class TensorBoard:
    def __init__(self, folder: Path, first: int) -> None:
        from tensorboardX import SummaryWriter

        os.makedirs(folder, exist_ok=True)
        self._writer = SummaryWriter(str(folder), flush_secs=5, purge_step=first or None)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """One MLflow run for one run of ours: what is resumed goes on in it. ``OUT/mlflow-run`` holds its id."""

    def __init__(self, out: Path) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise MedclmError(
                "mlflow is not installed",
                where="tracker",
                remedy="pip install 'medclm[mlflow]', or set tracker=tensorboard",
            ) from error
        self._mlflow, known = mlflow, out / "mlflow-run"
        identity = known.read_text() if known.is_file() else None
        run = mlflow.start_run(run_id=identity, run_name=None if identity else out.name)
        known.write_text(run.info.run_id)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._mlflow.log_metrics(values, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


def _peak(run: Run) -> float:
    from medclm.train.flops import peak_tflops

    return peak_tflops(run.device, run.config.peak_tflops)


def _memory_gb(device: Any) -> float:
    """Most memory so far: of the GPU, else of this process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
