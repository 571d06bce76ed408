"""The search on Ray Tune: who tries what next, who stops early, who copies whom. What is known lies in the store."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from medclm import storage
from medclm.config import TuneConfig
from medclm.train.tuning import population
from medclm.train.tuning.halving import Halving, rungs, survivors
from medclm.train.tuning.placement import Reaper
from medclm.train.tuning.propose import propose, size
from medclm.train.tuning.run import Job, Tell, run_trial
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Store, hardest_stage

ERROR_CHARACTERS = 4000
"""Kept of a failed trial's traceback: its end says what was wrong."""


def search(space: Space, job: Job, config: TuneConfig, tell: Tell | None = None) -> None:
    """Runs the trials that have not ended yet on the connected Ray, until all have; their files are in the store.

    A trial that failed in an earlier call is tried again, from its last checkpoint.
    """
    steps, store = job.train.steps, job.store
    store.reopen_failed()
    if config.stopping != "halving" or config.search == "pbt":
        _run(space, job, config, steps, tell)
        return
    every = job.train.evaluate_every
    for rung in rungs(config.grace_steps, config.reduction_factor, steps):
        step = min(-(-rung // every) * every, steps)
        _run(space, job, config, step, tell)
        known = store.all()
        best = survivors(known, step, config.reduction_factor, config.stage_grace_steps, config.mode)
        for trial in known:
            if trial.status == "running" and trial.name not in best:
                store.end(trial.name)
    _run(space, job, config, steps, tell)


def _run(space: Space, job: Job, config: TuneConfig, until: int, tell: Tell | None) -> None:
    """One experiment of Ray Tune, over the trials that have not come to step ``until``."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints a table even when it is told to be quiet
    shutil.rmtree(job.scratch, ignore_errors=True)
    total, is_population = size(space, config.search, config.trials), config.search == "pbt"
    proposals = Proposals(space, job.store, config, total, until)
    members = population.members(space, job.store, config) if is_population else []
    if not members if is_population else proposals.nothing_left():
        return
    judge = Judge(halving_of(job.store, config), config.metric, until if until < job.train.steps else None)
    settings: Any = tune.TuneConfig(
        metric=config.metric,
        mode=config.mode,
        scheduler=population.scheduler(space, config) if is_population else judge,
        search_alg=None if is_population else proposals,
        num_samples=1 if is_population else total,
        trial_name_creator=lambda trial: trial.config["proposal"]["name"],
        trial_dirname_creator=lambda trial: trial.trial_id,
        reuse_actors=False,
    )
    run_config = tune.RunConfig(
        name=f"tune-{uuid.uuid4().hex[:8]}",
        storage_path=job.scratch,
        failure_config=tune.FailureConfig(max_failures=config.max_failures),
        callbacks=[Watch(job, tell, total, until)],
        verbose=0,
    )
    param_space = {"proposal": tune.grid_search(members)} if is_population else {}
    trainable = tune.with_resources(partial(run_trial, job=job), {"CPU": population.TRIAL_CPUS})
    tune.Tuner(trainable, param_space=param_space, tune_config=settings, run_config=run_config).fit()
    Reaper(job.placements).finish()


class Proposals(Searcher):
    """First the trials that were cut off, then new ones, at most ``concurrent`` at once."""

    def __init__(self, space: Space, store: Store, config: TuneConfig, total: int, until: int) -> None:
        super().__init__(metric=config.metric, mode=config.mode)
        self.space, self.store, self.config, self.total, self.until = space, store, config, total, until
        self.cut_off = [trial for trial in store.all() if trial.status == "running" and trial.step < until]
        self.live: set[str] = set()

    def nothing_left(self) -> bool:
        """Whether no trial is left to go on with, and none to begin."""
        return not self.cut_off and self._fresh() is None

    def _fresh(self) -> tuple[int, dict[str, Any]] | None:
        """Number and values of the next new trial. To TPE, trials that wait for their next round are stopped ones."""
        known = self.store.all()
        told = [replace(t, status="stopped") if t.status == "running" and t.step >= self.until else t for t in known]
        values = propose(self.space, self.config.search, self.config.seed, told, self.config.mode)
        return None if values is None or len(known) >= self.total else (len(known), values)

    def suggest(self, trial_id: str) -> Any:
        if len(self.live) >= self.config.concurrent:
            return None
        if self.cut_off:
            trial = self.cut_off.pop(0)
            name, values = trial.name, trial.values
        else:
            fresh = self._fresh()
            if fresh is None:
                return Searcher.FINISHED
            name, values = self.store.begin(*fresh), fresh[1]
        self.live.add(trial_id)
        return {"proposal": {"name": name, "values": values}}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        self.live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""


class Judge(FIFOScheduler):
    """Successive halving as a scheduler of Ray Tune. Without one every trial goes on, to the end or ``until``."""

    def __init__(self, halving: Halving | None, metric: str, until: int | None = None) -> None:
        super().__init__()
        self.halving, self.measured, self.until = halving, metric, until

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        if self.until is not None:
            return FIFOScheduler.STOP if result["step"] >= self.until else FIFOScheduler.CONTINUE
        if self.halving is None:
            return FIFOScheduler.CONTINUE
        keep = self.halving.keep(trial.custom_trial_name, result["step"], result[self.measured], result["stage"])
        return FIFOScheduler.CONTINUE if keep else FIFOScheduler.STOP


class Watch(tune.Callback):
    """Writes down that a trial ended, and gives back what stopped trials had reserved."""

    def __init__(self, job: Job, tell: Tell | None, total: int, until: int) -> None:
        self.store, self.tell, self.total, self.until = job.store, tell, total, until
        self.reap = Reaper(job.placements)

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        self.reap()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into its own state; what shows the progress stays here."""
        return {**self.__dict__, "tell": None}

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        waits = self.until < self.store.steps and self.store.read(trial.custom_trial_name).step >= self.until
        if not waits:
            self._end(trial, "")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial, Path(trial.error_file).read_text()[-ERROR_CHARACTERS:])

    def _end(self, trial: Any, error: str) -> None:
        self.store.end(trial.custom_trial_name, error)
        if self.tell:
            ended = storage.list_files(storage.join(self.store.out, "trials"), "*/end.json")
            self.tell(len(ended), max(self.total, len(ended)))


def halving_of(store: Store, config: TuneConfig) -> Halving | None:
    """Successive halving that knows what the store's trials have measured; their last reports are judged again."""
    if config.stopping != "asha":
        return None
    halving = Halving(
        config.grace_steps, config.reduction_factor, config.train.steps, config.stage_grace_steps, config.mode
    )
    for trial in store.all():
        known = trial.history if trial.status in ("finished", "stopped") else trial.history[:-1]
        for step, score in known:
            halving.keep(trial.name, step, score, hardest_stage(tuple(s for s in trial.shares if s[0] <= step)))
    return halving
