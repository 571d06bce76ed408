"""The files of a finished search: ``schedule.yaml``, ``trials.parquet``, ``report.html``, ``tune.json``."""

from __future__ import annotations

import io

from medclm import storage
from medclm.config import TrainConfig, TuneConfig
from medclm.train.tuning.report import write_report
from medclm.train.tuning.result import DONE, TuneResult
from medclm.train.tuning.space import merge, nested
from medclm.train.tuning.trials import STAGES, Trial


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
