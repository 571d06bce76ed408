"""Ray Tune over the real training job: schedule and loss parameters, bad trials cut early by ASHA at equal steps.

A trial is :func:`medclm.train.launch.train` with its own values, started from a tune function; the accuracy on held-out
questions that it reports while it trains is what trials are compared by. Early stopping: Li et al., "A System for
Massively Parallel Hyperparameter Tuning" (MLSys 2020).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm import storage
from medclm.config import TrainConfig, TuneConfig
from medclm.errors import MedclmError
from medclm.train.space import Space, merge, nested
from medclm.train.trials import TuneResult, choose, finished, publish, trial_of

if TYPE_CHECKING:
    from ray.tune import ResultGrid

Report = Callable[[int, int], None]


def tune(data: str, out: str, config: TuneConfig, progress: Report | None = None) -> TuneResult:
    """Searches ``config.space`` and writes ``OUT/schedule.yaml``, ``OUT/trials.parquet`` and ``OUT/tune.json``.

    Args:
        data: a built dataset.
        out: a directory or URL. A finished search of the same configuration in it is returned as it is.
        config: the space, over the training configuration ``config.train``.
        progress: called with (trials ended, trials).

    Raises:
        UsageError: the space names a parameter that does not exist or values it cannot have.
        MedclmError: no trial reported the metric.
    """
    space = Space(config.space, config.train)
    train = _compared(config)
    identity = _identity(data, train, config)
    if (done := finished(out, identity, config)) is not None:
        return done
    begin = time.monotonic()
    grid = _search(space, train, data, out, config, identity, progress)
    trials = tuple(trial_of(grid[number], train, config.metric) for number in range(len(grid)))
    best = choose(trials, config.mode)
    if best is None:
        errors = {trial.error for trial in trials if trial.error}
        raise MedclmError(
            "no trial reported the metric", where=out, expected=config.metric, got="; ".join(sorted(errors))
        )
    result = TuneResult(best, storage.join(out, "schedule.yaml"), trials, config.metric, train.steps)
    publish(result, out, config, identity, time.monotonic() - begin)
    return result


def run_trial(values: dict[str, Any], data: str, out: str, train: TrainConfig, metric: str) -> None:
    """The tune function: one real training run whose reports reach Ray Tune. The trial's id is in the run's name."""
    from ray import tune as ray_tune

    from medclm.train import launch

    name = ray_tune.get_context().get_trial_id()
    config, folder = applied(train, values), Path(out) / "trials" / name
    launch.make_base(data, folder, config)
    launch.fit(data, folder, config, f"tune-{name}", callbacks=(_metric_callback(metric, config),))


def applied(train: TrainConfig, values: dict[str, Any]) -> TrainConfig:
    """``train`` with dotted values put in, validated again."""
    return TrainConfig.model_validate(merge(train.model_dump(), nested(values)))


def _metric_callback(metric: str, config: TrainConfig) -> Any:
    """Passes on to Tune what was measured at the evaluation steps.

    A report at another step (a checkpoint's) repeats the metric of an earlier one, which ASHA must not see.
    """
    from ray.tune.integration.ray_train import TuneReportCallback

    class ReportMetric(TuneReportCallback):
        def __init__(self) -> None:
            super().__init__()
            self.passed = 0

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            step = int(metrics[0].get("step", 0)) if metrics else 0
            due = step == config.steps or (step > 0 and step % config.evaluate_every == 0)
            if due and step > self.passed and metric in metrics[0]:
                self.passed = step
                super().after_report(run_context, [{"step": step, metric: metrics[0][metric]}], None)

    return ReportMetric()


def _compared(config: TuneConfig) -> TrainConfig:
    """The trials' training configuration: evaluated at equal steps, at the latest when ASHA first looks."""
    every = config.train.evaluate_every or min(config.grace_steps, config.train.steps)
    return config.train.model_copy(update={"evaluate_every": every})


def _identity(data: str, train: TrainConfig, config: TuneConfig) -> str:
    """Fingerprint of a search: the dataset's content, the version and the configuration.

    Raises:
        UsageError: the dataset is missing or too small for the training configuration.
    """
    from medclm.train.launch import describe

    run = describe(data, train)
    return storage.fingerprint(
        {"run": run["fingerprint"], "tune": config.model_dump(mode="json", exclude={"concurrent"})}
    )


def _search(
    space: Space, train: TrainConfig, data: str, out: str, config: TuneConfig, identity: str, progress: Report | None
) -> ResultGrid:
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler

    from medclm.session import ray_session

    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints a table even when it is told to be quiet
    trainable = partial(run_trial, data=_absolute(data), out=_absolute(out), train=train, metric=config.metric)
    asha = ASHAScheduler(
        time_attr="step",
        max_t=train.steps,
        grace_period=min(config.grace_steps, train.steps),
        reduction_factor=config.reduction_factor,
        stop_last_trials=False,
    )
    settings: Any = ray_tune.TuneConfig(
        metric=config.metric,
        mode=config.mode,
        scheduler=asha,
        search_alg=space.searcher(config.search, config.metric, config.mode, config.seed, config.concurrent),
        num_samples=config.trials,
        trial_dirname_creator=lambda trial: trial.trial_id,
    )
    run_config = ray_tune.RunConfig(
        name=f"tune-{identity}",
        storage_path=storage.join(_absolute(out), "ray"),
        callbacks=[_progress_callback(progress, config.trials)] if progress else [],
        verbose=0,
    )
    with ray_session():
        # a trial only waits for its workers, which reserve what they need; Tune does not take none at all
        ready = ray_tune.with_resources(trainable, {"CPU": 0.01})
        return ray_tune.Tuner(ready, param_space=space.domains(), tune_config=settings, run_config=run_config).fit()


def _progress_callback(progress: Report, total: int) -> Any:
    from ray.tune import Callback

    class Ended(Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            self.count += 1
            progress(self.count, total)

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            self.on_trial_complete(iteration, trials, trial)

    return Ended()


def _absolute(url: str) -> str:
    return str(Path(url).resolve()) if storage.is_local(url) else url
