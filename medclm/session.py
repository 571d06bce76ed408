"""The Ray that a command runs on: the cluster that is there, else a local one that ends with the command."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

LOCAL_CPUS = 4
"""Logical CPUs of a local Ray, at least: actors and tasks share the real cores, which a laptop has two or more of."""


@contextmanager
def ray_session(quiet: bool = True) -> Iterator[None]:
    """Ray, connected. A Ray that was already up is left as it is; one that this call started is stopped at the end.

    ``RAY_ADDRESS`` (set inside ``ray job submit``) names the cluster; without it a local Ray starts, with at least
    :data:`LOCAL_CPUS` logical CPUs.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if quiet:  # Ray's C++ core writes to this process's terminal past any Python logger
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    options: dict = {"log_to_driver": not quiet, "logging_level": logging.ERROR if quiet else logging.INFO}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {"num_cpus": max(LOCAL_CPUS, os.cpu_count() or 1), "include_dashboard": False}
    ray.init(**options)
    try:
        yield
    finally:
        ray.shutdown()


def has_gpus() -> bool:
    """Whether the connected cluster has any GPU."""
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0
