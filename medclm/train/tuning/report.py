"""``report.html`` of a search: what was found, whether it is better, what mattered, and how every trial learnt."""

from __future__ import annotations

from typing import Any

from medclm import storage
from medclm.config import TuneConfig
from medclm.train.tuning.charts import Axis, curves, list_axis, number_axis, parallel
from medclm.train.tuning.importance import importance
from medclm.train.tuning.result import TuneResult
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Trial
from medclm.train.tuning.words import sentence, show

SEARCHES = {"random": "random", "grid": "grid", "optuna": "TPE (Optuna)", "pbt": "population-based training"}


def write_report(url: str, result: TuneResult, config: TuneConfig, schedule: str) -> None:
    """Writes the page: one self-contained file.

    Args:
        schedule: the text of ``schedule.yaml``.
    """
    from medclm.eval.pages import bar, render_page

    space = Space(config.space, config.train)
    trials, start = result.trials, space.start()
    kinds = [kind_of(trial, result.best, start) for trial in trials]
    page = render_page(
        "tune_report.html.jinja",
        title="Tuning report",
        result=result,
        summary=result.summary(),
        config=config,
        search=SEARCHES[config.search],
        kinds=kinds,
        parallel=parallel(_axes(space, result), kinds, [trial.name for trial in trials]),
        curves=curves(trials, kinds, result.steps, result.metric),
        importance=importance(space, trials, config.seed),
        schedule=schedule,
        sentence=sentence(result.comparison),
        bar=bar,
        show=show,
    )
    storage.write_atomic(url, page.encode())


def kind_of(trial: Trial, best: Trial, start: dict[str, Any] | None) -> str:
    """How a trial is drawn: "best", "untuned", or its status."""
    if trial.name == best.name:
        return "best"
    return "untuned" if trial.values == start else "stopped" if trial.status == "running" else trial.status


def _axes(space: Space, result: TuneResult) -> list[Axis]:
    """An axis a parameter, then how far each trial went and what it reached."""
    axes = []
    for key, choice in space.space.items():
        values = [trial.values[key] for trial in result.trials]
        if choice.values is not None:
            axes.append(list_axis(key, values, choice.values))
        else:
            axes.append(number_axis(key, values, (choice.low or 0.0, choice.high or 0.0), choice.log))
    scores = [trial.score for trial in result.trials]
    known = [score for score in scores if score is not None]
    steps: list[float | None] = [float(trial.step) for trial in result.trials]
    ends = (min(known), max(known))
    return [*axes, number_axis("steps", steps, (0.0, float(result.steps))), number_axis(result.metric, scores, ends)]
