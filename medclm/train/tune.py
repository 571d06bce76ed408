"""``medclm tune``: Ray Tune over the real training job.

A trial is :func:`medclm.train.launch.fit` with its own values, inside a Ray Tune trial; the accuracy on held-out
questions that it measures while it trains is what trials are compared by, at equal steps. What was measured lies in
``OUT/trials`` (:mod:`medclm.train.tuning.trials`), so a search that was killed goes on when it is run again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from medclm import session, storage
from medclm.config import TrainConfig, TuneConfig
from medclm.errors import MedclmError, UsageError
from medclm.train.tuning.publish import publish
from medclm.train.tuning.result import TuneResult, finished
from medclm.train.tuning.run import Job, Tell
from medclm.train.tuning.space import Space
from medclm.train.tuning.trials import choose

CLAIM = "search.json"

_FREE = {"trials", "concurrent", "compare", "worker_cpus", "worker_gpus", "max_failures"}
"""Settings that may change between two calls that go on with one search."""


def tune(data: str, out: str, config: TuneConfig, progress: Tell | None = None, resume: bool = False) -> TuneResult:
    """Searches ``config.space``; writes ``schedule.yaml``, ``trials.parquet``, ``report.html`` and ``tune.json``.

    A finished search of the same configuration in ``out`` is returned as it is, one that was cut off goes on: ended
    trials stay, the others start from their last checkpoints. With more ``trials`` than before, more are run.

    Args:
        data: a built dataset.
        out: a directory on storage that all workers see.
        config: the space, over the training configuration ``config.train``.
        progress: called with (trials ended, trials).
        resume: refuse to begin: there must be a search in ``out``.

    Raises:
        UsageError: the space names a parameter that does not exist or values it cannot have; ``out`` holds another
            search, or none where ``resume`` wants one.
        MedclmError: no trial reported the metric.
    """
    from medclm.train.tuning import population, search

    space, train, out = Space(config.space, config.train), compared(config), _shared(out)
    if config.search == "pbt":
        population.check_population(space, config)
    identity = _identity(data, train, config)
    _claim(out, identity, config, resume)
    if (done := finished(out, identity, config)) is not None:
        return done
    begin = time.monotonic()
    with session.ray_session():
        base = _base(data, out, config)
        job = Job(storage.absolute(data), out, train, config.metric, _resources(config), config.search == "pbt", base)
        if config.search == "pbt":
            population.check_room(config)
        search.search(space, job, config, progress)
        trials = tuple(job.store.all())
        best = choose(trials, config.mode)
        if best is None:
            errors = sorted({trial.error for trial in trials if trial.error})
            raise MedclmError(
                "no trial reported the metric", where=out, expected=config.metric, got="; ".join(errors) or "no report",
                remedy="run it again when that is repaired: it goes on",
            )  # fmt: skip
        comparison = _compare(data, out, config, best.values)
    schedule, seconds = storage.join(out, "schedule.yaml"), round(time.monotonic() - begin, 1)
    result = TuneResult(best, schedule, trials, config.metric, train.steps, comparison, seconds)
    publish(result, out, config, identity)
    return result


def compared(config: TuneConfig) -> TrainConfig:
    """The trials' training configuration: evaluated at equal steps, at the latest when a trial is first judged.

    A checkpoint is written with every evaluation, so that no measured step is trained twice after an interruption;
    a population keeps them all, because others copy them.
    """
    train, pbt = config.train, config.search == "pbt"
    first = config.population.interval_steps if pbt else config.grace_steps
    every = train.evaluate_every or min(first, train.steps)
    keep = -(-train.steps // every) + 1 if pbt else train.keep_checkpoints
    return train.model_copy(update={"evaluate_every": every, "checkpoint_every": every, "keep_checkpoints": keep})


def _base(data: str, out: str, config: TuneConfig) -> str:
    """The ``tiny`` base, made once where all trials have the same; empty otherwise."""
    from medclm.train.launch import make_base

    own = any(key == "seed" or key.startswith("model.") for key in config.space)
    if own or config.train.model.base != "tiny":
        return ""
    make_base(data, Path(out), config.train)
    return storage.join(out, "base")


def _compare(data: str, out: str, config: TuneConfig, values: dict[str, Any]) -> dict[str, Any] | None:
    from medclm.train.tuning.compare import compare
    from medclm.train.tuning.space import applied

    if not config.compare.seeds:
        return None
    found = applied(config.train, values)
    return compare(data, Path(out) / "compare", config.train, found, config.compare.seeds, config.compare.questions)


def _resources(config: TuneConfig) -> dict[str, float]:
    """What one training worker reserves on the connected cluster.

    Raises:
        UsageError: workers of one trial would share a GPU, which NCCL cannot do.
    """
    if not session.has_gpus():
        return {"CPU": config.worker_cpus}
    if config.worker_gpus < 1 and config.train.workers > 1:
        raise UsageError(
            "workers of one trial cannot share a GPU", where="worker_gpus", got=config.worker_gpus,
            remedy="train.workers=1, or whole GPUs",
        )  # fmt: skip
    return {"CPU": config.worker_cpus, "GPU": config.worker_gpus}


def _identity(data: str, train: TrainConfig, config: TuneConfig) -> str:
    """Fingerprint of a search: the dataset's content, the version and the configuration.

    Raises:
        UsageError: the dataset is missing or too small for the training configuration.
    """
    from medclm.train.launch import describe

    run = describe(data, train)
    return storage.fingerprint({"run": run["fingerprint"], "tune": config.model_dump(mode="json", exclude=_FREE)})


def _claim(out: str, identity: str, config: TuneConfig, resume: bool) -> None:
    """Writes ``search.json``, or checks that the one that is there is of the same search."""
    file = storage.join(out, CLAIM)
    if not storage.exists(file):
        if resume:
            raise UsageError("there is no search to go on with", where=out, expected=CLAIM, remedy="leave out --resume")
        document = {"fingerprint": identity, "config": config.model_dump(mode="json")}
        storage.publish_json(file, document)
        return
    there = storage.read_json(file)
    if there["fingerprint"] != identity:
        now = config.model_dump(mode="json")
        changed = sorted(key for key in now if key not in _FREE and there["config"].get(key) != now[key])
        raise UsageError(
            "the directory holds another search", where=out,
            got=f"different: {', '.join(changed) or 'the data or the medclm version'}",
            remedy="choose another --out, or delete this one",
        )  # fmt: skip


def _shared(out: str) -> str:
    """The absolute directory.

    Raises:
        UsageError: it is an object store, which checkpoints are not written to.
    """
    if not storage.is_local(out):
        raise UsageError("trials need a directory", where=out, remedy="a file system that all nodes share")
    return str(Path(out).resolve())
