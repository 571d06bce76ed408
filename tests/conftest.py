"""Shared fixtures: one local Ray for the whole test run, and where real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def ray_cluster():
    """One local Ray with 4 logical CPUs, shared by every test that needs Ray."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="warning")
    yield ray
    ray.shutdown()


@pytest.fixture
def real_data():
    """A function from a folder's name to its path under MEDCLM_REAL_DATA; skips when the folder is not there."""
    root = Path(os.environ.get("MEDCLM_REAL_DATA", ROOT / ".." / "shared" / "data"))

    def folder(name: str) -> Path:
        path = root / name
        if not path.is_dir():
            pytest.skip(f"real data folder {name!r} is not under MEDCLM_REAL_DATA")
        return path

    return folder
