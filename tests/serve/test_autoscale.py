"""Replicas come with the requests, also from none, and go again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from medclm.config import ServeConfig
from medclm.serve.app import run_app, stop_app
from tests.serve.test_app import free_port

NAME = "scaled"


@pytest.fixture(scope="module")
def address(ray_cluster, model_dir):
    config = ServeConfig(
        model=str(model_dir), name=NAME, port=free_port(), max_new_tokens=400, min_replicas=0, max_replicas=2,
        target_ongoing_requests=2, max_ongoing_requests=8, upscale_delay_s=1, downscale_delay_s=2,
    )  # fmt: skip
    yield run_app(config)
    stop_app(NAME)


def replicas() -> int:
    from ray import serve

    found = serve.status().applications[NAME].deployments["Model"].replica_states
    return found.get("RUNNING", 0)


def wait_for(number: int, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while replicas() != number:
        assert time.monotonic() < end, f"{replicas()} replicas, not {number}, after {timeout_s} s"
        time.sleep(0.2)


@pytest.mark.slow
def test_from_none_to_many_and_back(address, png):
    def ask(_: int = 0, tokens: int = 8) -> httpx.Response:
        files, data = {"file": ("a.png", png)}, {"question": "Is there a nodule?", "max_tokens": str(tokens)}
        return httpx.post(f"{address}/v1/predict", files=files, data=data, timeout=120)

    first = ask()
    assert first.status_code == 200
    wait_for(0)
    assert httpx.get(f"{address}/readyz").status_code == 200  # it will answer: a balancer must go on sending
    began = time.monotonic()
    assert ask().json()["answer"] == first.json()["answer"]
    assert time.monotonic() - began < 60
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, n, 400) for n in range(64)]
        wait_for(2)
        assert {one.result().status_code for one in asked} == {200}
    wait_for(0)
