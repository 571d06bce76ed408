"""The Ray that a command runs on: the cluster that is there, else a local one that ends with the command."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOCAL_CPUS = 4
"""Logical CPUs of a local Ray, at least: actors and tasks share the real cores, which a laptop has two or more of."""

ACTORS_UP_S = 1800
"""Seconds that a stage may take to load its models."""

_QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_LOG_LEVEL": "ERROR", "RAY_SERVE_LOG_TO_STDERR": "0"}


@contextmanager
def ray_session(quiet: bool = True) -> Iterator[None]:
    """Ray, connected. A Ray that was already up is left as it is; one that this call started is stopped at the end.

    ``RAY_ADDRESS`` (set inside ``ray job submit``; ``auto``: the one on this machine) names the cluster; without it a
    local Ray starts, with at least :data:`LOCAL_CPUS` logical CPUs, also beside one that is up already. ``quiet`` keeps
    Ray's own log lines in its log files.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict = {"log_to_driver": not quiet, "logging_level": logging.ERROR if quiet else logging.INFO}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {"address": "local", "num_cpus": max(LOCAL_CPUS, os.cpu_count() or 1), "include_dashboard": False}
    if quiet:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        with _native_stderr_closed():
            ray.init(**options)
    else:
        ray.init(**options)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Ray's C++ core announces its log level on file descriptor 2; failures still arrive as Python exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def ordered_data() -> Iterator[None]:
    """Ray Data with its order kept, without progress bars, and with its stages held together; undone afterwards.

    Actors are up before the first image is read, and a stage waits when it is a few batches ahead of the next one:
    otherwise decoding fills half of the object store before the first row comes out.
    """
    os.environ.setdefault("RAY_DATA_DOWNSTREAM_CAPACITY_OBJECT_STORE_BUDGET_UTIL_THRESHOLD", "0")
    import ray.data

    context = ray.data.DataContext.get_current()
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars, context.wait_for_min_actors_s
    options.preserve_order, context.enable_progress_bars, context.wait_for_min_actors_s = True, False, ACTORS_UP_S
    try:
        yield
    finally:
        options.preserve_order, context.enable_progress_bars, context.wait_for_min_actors_s = before


def has_gpus() -> bool:
    """Whether the connected cluster has any GPU."""
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0
