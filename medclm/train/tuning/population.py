"""Population-based training on Ray Tune: who is in the population, what may change, and whether it fits."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from medclm.config import TuneConfig
from medclm.errors import UsageError
from medclm.train.tuning.propose import propose
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import Store

TRIAL_CPUS = 0.01
"""A trial only waits for its workers, which reserve what they need in a placement group; Tune does not take none."""

MUTABLE = ("schedule.", "loss.", "optim.lr", "optim.min_lr_share", "optim.warmup_share", "optim.clip")
"""What may change in the middle of a run. The rest shapes the model, the data order or the optimizer's state."""


def members(space: Space, store: Store, config: TuneConfig) -> list[dict[str, Any]]:
    """The population: its members that have not ended, made where they are not there yet."""
    while len(known := store.all()) < config.trials:
        values = propose(space, "pbt", config.seed, known, config.mode)
        if values is None:
            raise UsageError("the space is too small for the population", where="space", expected=config.trials,
                             got=len(known), remedy="fewer trials, or search: grid")  # fmt: skip
        store.begin(len(known), values)
    return [{"name": t.name, "values": t.values} for t in known if t.status == "running"]


def scheduler(space: Space, config: TuneConfig) -> PopulationBasedTraining:
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
