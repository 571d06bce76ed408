"""`make soak-serve`: faults and a long run, under load. Exits 1 where a promise is broken.

Each of three faults (kill -9 of a model replica, of the HTTP proxy, a rolling update) happens while at least 500
requests are asked; every client tries again, under the same idempotency key, what was refused or broke off. Promises:
every request gets its answer, the one that the model gives when it is asked alone, and no key gets two different ones.
Then a steady run looks at the memory of replicas and ingress (SOAK="--seconds 600" for the ten minutes).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bench.serve import make_model, png
from medclm.config import ServeConfig

KINDS = 8
"""Different requests; their answers are known beforehand."""
TOKENS = 24
RETRIED = {429, 500, 502, 503, 504}
"""What a client tries again. 500 is the proxy's word for an ingress that died under it."""


@dataclass
class Load:
    """What the clients saw."""

    address: str
    expected: list[str]
    asked: int = 0
    answered: int = 0
    retried: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    async def run(self, until: Callable[[], bool], at_once: int = 16) -> None:
        """Closed loop of ``at_once`` clients until the condition holds."""

        async def client() -> None:
            async with httpx.AsyncClient(base_url=self.address, timeout=60) as http:
                while not until():
                    await self.one(http)

        await asyncio.gather(*[client() for _ in range(at_once)])

    async def one(self, http: httpx.AsyncClient) -> None:
        """One request with its retries, and, one time in ten, the same once more after its answer."""
        number, kind = self.asked, self.asked % KINDS
        self.asked += 1
        start = time.perf_counter()
        first = await self.until_answered(http, number, kind)
        self.seconds.append(time.perf_counter() - start)
        if first != self.expected[kind]:
            self.wrong.append(f"request {number}: {first[:80]!r} instead of {self.expected[kind][:80]!r}")
        if number % 10 == 0 and await self.until_answered(http, number, kind) != first:
            self.wrong.append(f"request {number}: two answers under one key")
        self.answered += 1

    async def until_answered(self, http: httpx.AsyncClient, number: int, kind: int) -> str:
        """The text of the answer; tries for two minutes."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                answer = await http.post(
                    "/v1/predict",
                    files={"file": PICTURES[kind]},
                    data={"question": "Is there a nodule?", "max_tokens": TOKENS},
                    headers={"idempotency-key": f"{os.getpid()}-{id(self)}-{number}"},
                )
                if answer.status_code == 200:
                    return answer.json()["text"]
                if answer.status_code not in RETRIED:
                    raise SystemExit(f"status {answer.status_code}: {answer.text[:200]}")
            except httpx.TransportError:
                pass  # the connection broke: counted below, and asked again
            self.retried += 1
            await asyncio.sleep(0.25)
        raise SystemExit(f"request {number} was lost: no answer in two minutes")


PICTURES = [png(n) for n in range(KINDS)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=500, help="at least so many under each fault")
    arguments.add_argument("--seconds", type=float, default=60, help="of the steady run; 0 leaves it out")
    arguments.add_argument("--out", default="soak-serve.json")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = soak(make_model(Path(folder)), options.requests, options.seconds)
    Path(options.out).write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))
    sys.exit(int(any(result["wrong"] for result in results.values())))


def soak(model: Path, requests: int, seconds: float) -> dict[str, Any]:
    import ray

    from medclm.serve.app import run_app, stop_app

    expected = expected_texts(model)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    config = ServeConfig(model=str(model), name="soak", port=free_port(), min_replicas=2, max_replicas=2, num_cpus=0.5)
    address = run_app(config)
    faults = {
        "replica killed": lambda: kill("ServeReplica:soak:Model"),
        "proxy killed": lambda: kill("ProxyActor"),
        "rolling update": lambda: run_app(config.model_copy(update={"max_joining": 4})),
    }
    results = {name: under_load(address, expected, fault, requests) for name, fault in faults.items()}
    if seconds:
        results["steady"] = steady(address, expected, seconds)
    stop_app("soak")
    ray.shutdown()
    return results


def expected_texts(model: Path) -> list[str]:
    """What the model says when it is asked alone."""
    from medclm.serve.images import decode
    from medclm.serve.predictor import Predictor, Request

    predictor = Predictor(model, "cpu", 1)
    images = [decode(data, 2**26, 10**8).image for data in PICTURES]
    return [predictor.predict([Request(i, "Is there a nodule?", max_new_tokens=TOKENS)])[0].text for i in images]


def under_load(address: str, expected: list[str], fault: Callable[[], object], requests: int) -> dict[str, Any]:
    """The fault after a quarter of the requests; the load goes on until all are answered and the fault is over."""
    load = Load(address, expected)

    async def run() -> None:
        strike = asyncio.ensure_future(after(load, requests // 4, fault))
        await load.run(lambda: load.asked >= requests and strike.done())
        await strike

    asyncio.run(run())
    return report(load)


async def after(load: Load, count: int, fault: Callable[[], object]) -> None:
    while load.answered < count:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(fault)


def report(load: Load) -> dict[str, Any]:
    return {
        "asked": load.asked,
        "answered": load.answered,
        "tries again": load.retried,
        "median ms": round(statistics.median(load.seconds) * 1000),
        "longest ms": round(max(load.seconds) * 1000),
        "wrong": load.wrong[:5],
    }


def steady(address: str, expected: list[str], seconds: float) -> dict[str, Any]:
    """Memory of each process after a fifth of the time and at the end; more than 5 % and 20 MiB on top is a fault."""
    load, start, sizes = Load(address, expected), time.monotonic(), []

    async def watch() -> None:
        for part in (0.2, 0.6, 1.0):
            await asyncio.sleep(max(0.0, start + part * seconds - time.monotonic()))
            sizes.append({name: process.memory_info().rss / 2**20 for name, process in serving().items()})

    async def run() -> None:
        watching = asyncio.ensure_future(watch())
        await load.run(lambda: time.monotonic() - start > seconds)
        await watching

    asyncio.run(run())
    first, last = sizes[0], sizes[-1]
    grown = {name: [round(first[name]), round(last[name])] for name in first if name in last}
    load.wrong += [
        f"{name} grew from {before} to {now} MiB"
        for name, (before, now) in grown.items()
        if now > before * 1.05 and now - before > 20
    ]
    return {**report(load), "requests/s": round(load.answered / seconds, 1), "MiB first and last": grown}


def serving() -> dict[str, psutil.Process]:
    """The processes of this Ray that serve, by title and pid."""
    mine = psutil.Process().children(recursive=True)
    titles = {process: " ".join(process.cmdline()) for process in mine}
    return {
        f"{title.split(':')[-1].split('.')[0]} {process.pid}": process
        for process, title in titles.items()
        if "ServeReplica:" in title or "ProxyActor" in title
    }


def kill(title: str) -> None:
    """kill -9 of one process of this Ray whose title has the text."""
    for process in psutil.Process().children(recursive=True):
        if title in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise SystemExit(f"no process {title!r} to kill")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
