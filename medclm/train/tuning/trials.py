"""Trials on disk: what a search knows is what lies here, so a search that was killed goes on from these files alone.

::

    OUT/search.json                        what the search is
    OUT/trials/t000/trial.json             number and values, written before the trial starts
    OUT/trials/t000/g0/origin.json         its values; pbt's g1, … also say whose checkpoint they began from
    OUT/trials/t000/g0/reports/000050.json what was measured at a step, written when its checkpoint was
    OUT/trials/t000/g0/                    beside them the training run: base, checkpoints, tensorboard
    OUT/trials/t000/end.json               that it ended, and how
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from medclm import storage

STAGES = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Report:
    """One measurement of a trial.

    Attributes:
        metrics: everything that the run said at that step.
        seconds: since the report before, or since the run was started.
        checkpoint: its address; empty where none was written at that step.
    """

    step: int
    metrics: dict[str, float]
    seconds: float
    checkpoint: str = ""

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of the easy, medium and hard examples in the steps before the report; zeros where not said."""
        easy, medium, hard = (float(self.metrics.get(f"{stage}/share", 0.0)) for stage in STAGES)
        return easy, medium, hard


@dataclass(frozen=True)
class Generation:
    """A part of a trial with the same values: all of it, except in population-based training.

    Attributes:
        origin: whose checkpoint it began from (``trial``, ``step``, ``checkpoint``); empty for the first.
    """

    number: int
    values: dict[str, Any]
    origin: dict[str, Any]
    reports: tuple[Report, ...] = ()

    @property
    def begin(self) -> int:
        """The step that it began from."""
        return int(self.origin.get("step", 0))


@dataclass(frozen=True)
class Trial:
    """One tried combination.

    Attributes:
        values: dotted TrainConfig key to value; the last ones where they changed on the way.
        status: ``finished`` (all steps), ``stopped`` (early), ``failed`` or ``running``.
        step: of the last report; 0 without one.
        score: the metric there; None without a report.
        history: (step, metric) of every report, the last generation's where two have a step.
        shares: (step, easy, medium, hard): the stages of the steps before each report.
        steps_trained: by this trial itself, in all its generations.
        seconds: that it ran, starting its workers included.
        error: of a failed trial.
    """

    name: str
    values: dict[str, Any]
    status: str
    step: int
    score: float | None
    history: tuple[tuple[int, float], ...] = ()
    shares: tuple[tuple[int, float, float, float], ...] = ()
    steps_trained: int = 0
    seconds: float = 0.0
    error: str = ""
    generations: tuple[Generation, ...] = field(default=(), repr=False)


class Store:
    """The trials under ``out``.

    Args:
        steps: of a whole run.
    """

    def __init__(self, out: str, metric: str, steps: int) -> None:
        self.out, self.metric, self.steps = out, metric, steps

    def folder(self, name: str, *parts: str) -> str:
        """Address of something of a trial."""
        return storage.join(self.out, "trials", name, *parts)

    def begin(self, number: int, values: dict[str, Any]) -> str:
        """Writes down a new trial; returns its name."""
        name = f"t{number:03d}"
        storage.publish_json(self.folder(name, "trial.json"), {"number": number, "values": values})
        self.branch(name, 0, values, {})
        return name

    def branch(self, name: str, generation: int, values: dict[str, Any], origin: dict[str, Any]) -> None:
        """Writes down where a generation starts from."""
        document = {"values": values, "origin": origin}
        storage.publish_json(self.folder(name, f"g{generation}", "origin.json"), document)

    def report(self, name: str, generation: int, report: Report) -> None:
        """Writes down a measurement; the same step again replaces it."""
        document = {"step": report.step, "metrics": report.metrics, "seconds": round(report.seconds, 3),
                    "checkpoint": report.checkpoint}  # fmt: skip
        storage.publish_json(self.folder(name, f"g{generation}", "reports", f"{report.step:08d}.json"), document)

    def end(self, name: str, error: str = "") -> None:
        """Writes down that a trial ended: by itself, by being stopped, or by an error."""
        storage.publish_json(self.folder(name, "end.json"), {"error": error})

    def reopen_failed(self) -> None:
        """Failed trials count as running again."""
        for trial in self.all():
            if trial.status == "failed":
                storage.remove(self.folder(trial.name, "end.json"))

    def generations(self, name: str) -> list[Generation]:
        """Those of a trial, in their order, with their reports."""
        found = []
        for file in storage.list_files(self.folder(name), "g*/origin.json"):
            number = int(file.split("/")[-2].removeprefix("g"))
            reports = storage.list_files(self.folder(name, f"g{number}", "reports"), "*.json")
            read = tuple(Report(**storage.read_json(report)) for report in reports)
            found.append(Generation(number, **storage.read_json(file), reports=read))
        return sorted(found, key=lambda generation: generation.number)

    def read(self, name: str) -> Trial:
        """A trial as it stands."""
        parts = self.generations(name)
        reports = {r.step: r for part in parts for r in part.reports if self.metric in r.metrics}
        for before, after in itertools.pairwise(parts):
            ahead = {r.step for r in before.reports if r.step > after.begin} - {r.step for r in after.reports}
            reports = {step: r for step, r in reports.items() if step not in ahead}
        ordered = [reports[step] for step in sorted(reports)]
        step = ordered[-1].step if ordered else 0
        status, error = self._status(name, step)
        return Trial(
            name=name,
            values=parts[-1].values,
            status=status,
            step=step,
            score=ordered[-1].metrics[self.metric] if ordered else None,
            history=tuple((r.step, r.metrics[self.metric]) for r in ordered),
            shares=tuple((r.step, *r.shares) for r in ordered),
            steps_trained=sum(p.reports[-1].step - p.begin for p in parts if p.reports),
            seconds=round(sum(r.seconds for p in parts for r in p.reports), 1),
            error=error,
            generations=tuple(parts),
        )

    def all(self) -> list[Trial]:
        """Every trial, in the order they began."""
        files = storage.list_files(storage.join(self.out, "trials"), "*/trial.json")
        return [self.read(file.split("/")[-2]) for file in files]

    def _status(self, name: str, step: int) -> tuple[str, str]:
        file = self.folder(name, "end.json")
        if not storage.exists(file):
            return "running", ""
        error = storage.read_json(file)["error"]
        return ("failed" if error else "finished" if step >= self.steps else "stopped"), error


def hardest_stage(shares: tuple[tuple[int, float, float, float], ...]) -> int:
    """The hardest stage that was trained so far: 0 easy, 1 medium, 2 hard."""
    return max((stage for _, *parts in shares for stage, share in enumerate(parts) if share > 0), default=0)


def choose(trials: tuple[Trial, ...] | list[Trial], mode: str = "max") -> Trial | None:
    """The best score among the trials that went furthest, the earliest of equals; None when none has a score.

    A trial that was stopped early is never preferred to one that went on: their scores are of different steps.
    """
    sign = 1 if mode == "max" else -1
    scored = [trial for trial in trials if trial.score is not None and trial.status != "failed"]
    return max(scored, key=lambda trial: (trial.step, sign * (trial.score or 0.0)), default=None)
