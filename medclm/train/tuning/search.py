"""The search on Ray Tune: who tries what next, who stops early, who copies whom. What is known lies in the store."""

from __future__ import annotations

import os
import random
import shutil
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, PopulationBasedTraining
from ray.tune.search import Searcher

from medclm import storage
from medclm.config import TuneConfig
from medclm.errors import UsageError
from medclm.train.tuning.halving import Halving
from medclm.train.tuning.placement import Reaper
from medclm.train.tuning.propose import propose, size
from medclm.train.tuning.run import Job, Tell, run_trial
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Store, hardest_stage

TRIAL_CPUS = 0.01
"""A trial only waits for its workers, which reserve what they need in a placement group; Tune does not take none."""

ERROR_CHARACTERS = 4000
"""Kept of a failed trial's traceback: its end says what was wrong."""

MUTABLE = ("schedule.", "loss.", "optim.lr", "optim.min_lr_share", "optim.warmup_share", "optim.clip")
"""What may change in the middle of a run. The rest shapes the model, the data order or the optimizer's state."""


def search(space: Space, job: Job, config: TuneConfig, tell: Tell | None = None) -> None:
    """Runs the trials that have not ended yet on the connected Ray, until all have; their files are in the store."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints a table even when it is told to be quiet
    total = size(space, config.search, config.trials)
    shutil.rmtree(job.scratch, ignore_errors=True)
    population = config.search == "pbt"
    settings: Any = tune.TuneConfig(
        metric=config.metric,
        mode=config.mode,
        scheduler=_population(space, config) if population else Judge(halving_of(job.store, config), config.metric),
        search_alg=None if population else Proposals(space, job.store, config, total),
        num_samples=1 if population else total,
        trial_name_creator=lambda trial: trial.config["proposal"]["name"],
        trial_dirname_creator=lambda trial: trial.trial_id,
        reuse_actors=False,
    )
    run_config = tune.RunConfig(
        name=f"tune-{uuid.uuid4().hex[:8]}",
        storage_path=job.scratch,
        failure_config=tune.FailureConfig(max_failures=config.max_failures),
        callbacks=[Watch(job, tell, total)],
        verbose=0,
    )
    proposals = {"proposal": tune.grid_search(_members(space, job.store, config))} if population else {}
    trainable = tune.with_resources(partial(run_trial, job=job), {"CPU": TRIAL_CPUS})
    tune.Tuner(trainable, param_space=proposals, tune_config=settings, run_config=run_config).fit()
    Reaper(job.placements).finish()


class Proposals(Searcher):
    """First the trials that were cut off, then new ones, at most ``concurrent`` at once."""

    def __init__(self, space: Space, store: Store, config: TuneConfig, total: int) -> None:
        super().__init__(metric=config.metric, mode=config.mode)
        self.space, self.store, self.config, self.total = space, store, config, total
        self.cut_off = [t for t in store.all() if t.status in ("running", "failed")]
        self.live: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        if len(self.live) >= self.config.concurrent:
            return None
        if self.cut_off:
            trial = self.cut_off.pop(0)
            name, values = trial.name, trial.values
        else:
            known = self.store.all()
            config = self.config
            fresh = propose(self.space, config.search, config.seed, known, config.mode)
            if fresh is None or len(known) >= self.total:
                return Searcher.FINISHED
            name, values = self.store.begin(len(known), fresh), fresh
        self.live.add(trial_id)
        return {"proposal": {"name": name, "values": values}}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        self.live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""


class Judge(FIFOScheduler):
    """Successive halving as a scheduler of Ray Tune; without one it lets every trial go on."""

    def __init__(self, halving: Halving | None, metric: str) -> None:
        super().__init__()
        self.halving, self.measured = halving, metric

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        if self.halving is None:
            return FIFOScheduler.CONTINUE
        keep = self.halving.keep(trial.custom_trial_name, result["step"], result[self.measured], result["stage"])
        return FIFOScheduler.CONTINUE if keep else FIFOScheduler.STOP


class Watch(tune.Callback):
    """Writes down that a trial ended, and gives back what stopped trials had reserved."""

    def __init__(self, job: Job, tell: Tell | None, total: int) -> None:
        self.store, self.tell, self.total = job.store, tell, total
        self.reap = Reaper(job.placements)

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        self.reap()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into its own state; what shows the progress stays here."""
        return {**self.__dict__, "tell": None}

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
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
    if config.stopping == "none":
        return None
    halving = Halving(
        config.grace_steps, config.reduction_factor, config.train.steps, config.stage_grace_steps, config.mode
    )
    for trial in store.all():
        known = trial.history if trial.status in ("finished", "stopped") else trial.history[:-1]
        for step, score in known:
            halving.keep(trial.name, step, score, hardest_stage(tuple(s for s in trial.shares if s[0] <= step)))
    return halving


def _members(space: Space, store: Store, config: TuneConfig) -> list[dict[str, Any]]:
    """The population: its members that have not ended, made where they are not there yet."""
    while len(known := store.all()) < config.trials:
        values = propose(space, "pbt", config.seed, known, config.mode)
        if values is None:
            raise UsageError("the space is too small for the population", where="space", expected=config.trials,
                             got=len(known), remedy="fewer trials, or search: grid")  # fmt: skip
        store.begin(len(known), values)
    return [{"name": t.name, "values": t.values} for t in known if t.status in ("running", "failed")]


def _population(space: Space, config: TuneConfig) -> PopulationBasedTraining:
    """Ray's population-based training (Jaderberg et al. 2017) within the space's ranges."""
    from ray.tune.search.sample import Domain

    mutations: dict[str, list | Domain] = {}
    for key, choice in space.space.items():
        if choice.values is not None:
            mutations[key] = list(choice.values)
        elif space.whole(key):
            mutations[key] = tune.randint(int(choice.low or 0), int(choice.high or 0) + 1)
        else:
            draw = tune.loguniform if choice.log else tune.uniform
            mutations[key] = draw(choice.low or 0.0, choice.high or 0.0)
    random.seed(config.seed)  # Ray's scheduler draws from the global generator
    return PopulationBasedTraining(
        time_attr="step",
        perturbation_interval=config.population.interval_steps,
        hyperparam_mutations={"proposal": {"values": mutations}},
        quantile_fraction=config.population.quantile,
        resample_probability=config.population.resample,
        custom_explore_fn=partial(_clipped, space=space),
        log_config=False,
    )


def _clipped(config: dict[str, Any], space: Space) -> dict[str, Any]:
    proposal = config["proposal"]
    return {**config, "proposal": {**proposal, "values": space.clip(proposal["values"])}}


def check_population(space: Space, config: TuneConfig) -> None:
    """Raises UsageError where population-based training cannot do what is asked."""
    if fixed := [key for key in space.space if not key.startswith(MUTABLE)]:
        raise UsageError(
            "a parameter cannot change in the middle of a run", where=f"space.{fixed[0]}",
            expected=", ".join(MUTABLE), remedy="search: random or optuna",
        )  # fmt: skip
    if config.trials < 2:
        raise UsageError("a population has at least two trials", where="trials", got=config.trials)


def check_room(config: TuneConfig) -> None:
    """Raises UsageError where the connected cluster cannot hold the whole population at once."""
    import ray

    needed = config.trials * (config.train.workers * config.worker_cpus + TRIAL_CPUS)
    there = ray.cluster_resources().get("CPU", 0.0)
    if needed > there:
        raise UsageError(
            "the cluster has no room for the population, which runs side by side", expected=f"{needed:g} CPUs",
            got=f"{there:g}", remedy="fewer trials, or a smaller worker_cpus",
        )  # fmt: skip
