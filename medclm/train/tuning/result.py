"""What a search found, and how it is found again where it has been published (:mod:`publish`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medclm import storage
from medclm.config import TuneConfig
from medclm.train.tuning.trials import Store, Trial, choose
from medclm.train.tuning.words import sentence, show

DONE = "tune.json"
"""Written last: a search that has it is finished."""


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
