"""What a search found, and its files: ``schedule.yaml``, ``trials.parquet``, ``report.html``, ``tune.json``."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from medclm import storage
from medclm.config import TrainConfig, TuneConfig
from medclm.train.tuning.space import merge, nested
from medclm.train.tuning.trials import STAGES, Store, Trial, choose

DONE = "tune.json"


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes:
        best: the trial with the best score among those that went furthest.
        schedule_yaml: address of the YAML file for ``medclm train --config``.
        trials: in the order they began; the first has the untuned values where the space contains them.
        comparison: best against untuned, see :func:`medclm.train.tuning.compare.compare`; None where there was none.
        seconds: of the call that finished it.
    """

    best: Trial
    schedule_yaml: str
    trials: tuple[Trial, ...]
    metric: str
    steps: int
    comparison: dict[str, Any] | None = None
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """What ``tune.json`` and ``medclm tune --json`` say; ``steps_spent`` counts the steps of all trials."""
        states = [trial.status for trial in self.trials]
        found = {
            "schedule": self.schedule_yaml,
            "best": self.best.values,
            self.metric: self.best.score,
            "trials": {state: states.count(state) for state in ("finished", "stopped", "failed")},
            "steps_spent": sum(trial.steps_trained for trial in self.trials),
            "steps_without_stopping": self.steps * len(self.trials),
        }
        return found | ({"comparison": self.comparison} if self.comparison else {})

    def lines(self) -> dict[str, str]:
        """The same for a person: what was found, whether it is better, what it took."""
        from medclm.train.tuning.report import sentence, show

        summary = self.summary()
        states = ", ".join(f"{count} {state}" for state, count in summary["trials"].items() if count)
        spent, whole = summary["steps_spent"], summary["steps_without_stopping"]
        return {
            "best": ", ".join(f"{key} {show(value)}" for key, value in self.best.values.items()),
            self.metric: f"{show(self.best.score)} at step {self.best.step} ({self.best.name})",
            "trials": states,
            "steps": f"{spent} of {whole} ({spent / whole:.0%})",
            "is it better?": sentence(self.comparison),
            "report": self.schedule_yaml.replace("schedule.yaml", "report.html"),
        }


def schedule_text(train: TrainConfig, trial: Trial, note: str) -> str:
    """YAML of a partial TrainConfig: what ``train`` sets away from the defaults, and the found values on top.

    A trial whose values changed on the way has them all in comments: the file holds the last ones.
    """
    import yaml

    document = merge(train.model_dump(mode="json", exclude_defaults=True), nested(trial.values))
    lines = [f"# {note}"]
    if len(trial.generations) > 1:
        lines.append("# its values changed while it trained; these are the last ones. Before:")
        lines += [f"#   from step {part.begin}: {part.values}" for part in trial.generations[:-1]]
    return "\n".join(lines) + "\n" + yaml.safe_dump(document, sort_keys=False)


def publish(result: TuneResult, out: str, config: TuneConfig, identity: str) -> None:
    """Writes the four files, ``tune.json`` last.

    Args:
        identity: fingerprint of the search.
    """
    from medclm.train.tuning.report import write_report

    best = result.best
    storage.write_atomic(storage.join(out, "trials.parquet"), _table(result))
    note = f"found by medclm tune: {config.metric} {best.score:.4f} at step {best.step}, trial {best.name}"
    schedule = schedule_text(config.train, best, note)
    storage.write_atomic(result.schedule_yaml, schedule.encode())
    write_report(storage.join(out, "report.html"), result, config, schedule)
    document = {
        "fingerprint": identity,
        "summary": result.summary(),
        "config": config.model_dump(mode="json"),
        "best": best.name,
        "comparison": result.comparison,
        "seconds": round(result.seconds, 1),
    }
    storage.publish_json(storage.join(out, DONE), document)


def finished(out: str, identity: str, config: TuneConfig) -> TuneResult | None:
    """The result of the same search with the same number of trials, where ``out`` has it."""
    file = storage.join(out, DONE)
    if not storage.exists(file):
        return None
    document = storage.read_json(file)
    asked = ("trials", "compare")
    now = config.model_dump(mode="json")
    if document["fingerprint"] != identity or any(document["config"][key] != now[key] for key in asked):
        return None
    trials = tuple(Store(out, config.metric, config.train.steps).all())
    best = choose(trials, config.mode)
    assert best is not None, "a published search has a best trial"
    schedule = storage.join(out, "schedule.yaml")
    return TuneResult(best, schedule, trials, config.metric, config.train.steps, document["comparison"],
                      document["seconds"])  # fmt: skip


def _table(result: TuneResult) -> bytes:
    """Parquet, a row a trial: its values, what came of it, and its curve."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "name": trial.name,
            **trial.values,
            "status": trial.status,
            "step": trial.step,
            result.metric: trial.score,
            "history_step": [step for step, _ in trial.history],
            f"history_{result.metric}": [value for _, value in trial.history],
            **{f"share_{stage}": [s[n + 1] for s in trial.shares] for n, stage in enumerate(STAGES)},
            "steps_trained": trial.steps_trained,
            "seconds": trial.seconds,
            "copied_from": [str(part.origin["trial"]) for part in trial.generations[1:]],
            "error": trial.error,
        }
        for trial in result.trials
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()
