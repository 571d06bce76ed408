"""What a search tried and found, and its files: ``schedule.yaml``, ``trials.parquet``, ``tune.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from medclm import storage
from medclm.config import TrainConfig, TuneConfig
from medclm.train.space import merge, nested


@dataclass(frozen=True)
class Trial:
    """One tried combination.

    Attributes:
        values: dotted TrainConfig key to value.
        status: ``finished`` (all steps), ``stopped`` (by ASHA) or ``failed``.
        step: of the last report; 0 without one.
        score: the metric there; None without a report.
        history: (step, metric) of every report.
        error: of a failed trial.
    """

    name: str
    values: dict[str, Any]
    status: str
    step: int
    score: float | None
    history: tuple[tuple[int, float], ...]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes:
        best: the trial with the best score among those that went furthest.
        schedule_yaml: address of the YAML file for ``medclm train --config``.
        trials: in the order they began; the first has the untuned values where the space contains them.
    """

    best: Trial
    schedule_yaml: str
    trials: tuple[Trial, ...]
    metric: str
    steps: int

    def summary(self) -> dict[str, Any]:
        """What ``tune.json`` and ``medclm tune --json`` say; ``steps_spent`` counts the steps of all trials."""
        states = [trial.status for trial in self.trials]
        return {
            "schedule": self.schedule_yaml,
            "best": self.best.values,
            self.metric: self.best.score,
            "trials": {state: states.count(state) for state in ("finished", "stopped", "failed")},
            "steps_spent": sum(trial.step for trial in self.trials),
            "steps_without_stopping": self.steps * len(self.trials),
        }


def choose(trials: tuple[Trial, ...], mode: str = "max") -> Trial | None:
    """The best score among the trials that went furthest, the earliest of equals; None when none has a score.

    A trial that was stopped early is never preferred to one that went on: their scores are of different steps.
    """
    sign = 1 if mode == "max" else -1
    scored = [trial for trial in trials if trial.score is not None and trial.status != "failed"]
    return max(scored, key=lambda trial: (trial.step, sign * (trial.score or 0.0)), default=None)


def schedule_text(train: TrainConfig, best: dict[str, Any], note: str) -> str:
    """YAML of a partial TrainConfig: what ``train`` sets away from the defaults, and the found values on top."""
    import yaml

    document = merge(train.model_dump(mode="json", exclude_defaults=True), nested(best))
    return f"# {note}\n" + yaml.safe_dump(document, sort_keys=False)


def trial_of(result: Any, train: TrainConfig, metric: str) -> Trial:
    """A Trial of Tune's Result."""
    frame = result.metrics_dataframe
    rows = [] if frame is None or metric not in frame else frame[["step", metric]].dropna().to_numpy().tolist()
    history = tuple((int(step), float(value)) for step, value in rows)
    metrics = result.metrics or {}
    step, score = history[-1] if history else (0, None)
    status = "failed" if result.error else "finished" if step == train.steps else "stopped"
    return Trial(
        name=result.path.rpartition("/")[2],
        values=dict(result.config or {}),
        status=status,
        step=step,
        score=score,
        history=history,
        seconds=float(metrics.get("time_total_s") or 0.0),
        error=str(result.error or ""),
    )


def publish(result: TuneResult, out: str, config: TuneConfig, identity: str, seconds: float) -> None:
    """Writes the three files, ``tune.json`` last.

    Args:
        identity: fingerprint of the search.
        seconds: that it took.
    """
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "name": trial.name,
            **trial.values,
            "status": trial.status,
            "step": trial.step,
            config.metric: trial.score,
            "history_step": [step for step, _ in trial.history],
            f"history_{config.metric}": [value for _, value in trial.history],
            "seconds": trial.seconds,
            "error": trial.error,
        }
        for trial in result.trials
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    storage.write_atomic(storage.join(out, "trials.parquet"), buffer.getvalue())
    best = result.best
    note = f"found by medclm tune: {config.metric} {best.score:.4f} at step {best.step}, trial {best.name}"
    storage.write_atomic(result.schedule_yaml, schedule_text(config.train, result.best.values, note).encode())
    document = {
        "fingerprint": identity,
        "summary": result.summary(),
        "config": config.model_dump(mode="json"),
        "trials": [asdict(trial) for trial in result.trials],
        "best": result.best.name,
        "seconds": round(seconds, 1),
    }
    storage.publish_json(storage.join(out, "tune.json"), document)


def finished(out: str, identity: str, config: TuneConfig) -> TuneResult | None:
    """The result of the same search, where ``out`` has it."""
    file = storage.join(out, "tune.json")
    if not storage.exists(file):
        return None
    document = storage.read_json(file)
    if document.get("fingerprint") != identity:
        return None
    trials = tuple(
        Trial(**{**entry, "history": tuple((step, value) for step, value in entry["history"])})
        for entry in document["trials"]
    )
    best = next(trial for trial in trials if trial.name == document["best"])
    return TuneResult(best, storage.join(out, "schedule.yaml"), trials, config.metric, config.train.steps)
