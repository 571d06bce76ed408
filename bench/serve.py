"""`make bench-serve`: medclm serve against `transformers serve` on one checkpoint, in one run on one machine.

Both answer the same chat requests (a new picture each, greedy, the same limit of tokens) at 1, 8 and 32 requests at a
time; then the predictor is called directly, and medclm is asked for four times what it may hold. Prints a table and
writes bench-serve.json. The tiny SmolVLM has random weights: only speed means anything here.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

LEVELS = (1, 8, 32)
WORDS = ["Is there a nodule in the left lung? Reasoning: Answer: yes", "Where is the effusion? right lower zone"] * 50


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=64, help="requests at each level of concurrency")
    arguments.add_argument("--tokens", type=int, default=96, help="max_tokens of each request; 96: an explained answer")
    arguments.add_argument("--out", default="bench-serve.json")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        results: dict[str, Any] = {"requests": options.requests, "tokens": options.tokens}
        with rival(model) as address:
            results["transformers"] = measure(address, str(model), options.requests, options.tokens)
        with ours(model) as address:
            results["medclm"] = measure(address, "medclm", options.requests, options.tokens)
            results["overload"] = asyncio.run(overload(address, options.tokens))
        results["direct_ms"] = direct(model, options.tokens)
    results["ratios"] = ratios(results)
    Path(options.out).write_text(json.dumps(results, indent=1))
    show(results)


def make_model(folder: Path) -> Path:
    """A tiny SmolVLM as an exported model."""
    from medclm.train.tiny import make_tiny

    make_tiny(WORDS, folder)
    info = {"format_version": 1, "family": "idefics3", "base": "tiny", "dtype": "float32", "fingerprint": "bench"}
    (folder / "medclm.json").write_text(json.dumps(info))
    return folder


def png(seed: int) -> bytes:
    """A picture of its own for each seed."""
    buffer = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(values).resize((256, 256)).save(buffer, "PNG")
    return buffer.getvalue()


def body(model: str, seed: int, tokens: int) -> dict[str, Any]:
    uri = "data:image/png;base64," + base64.b64encode(png(seed)).decode()
    parts = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "Is there a nodule?"}]
    messages = [{"role": "user", "content": parts}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}


@contextmanager
def rival(model: Path) -> Iterator[str]:
    """`transformers serve`, until the with block ends."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(model), "--port", str(port)]
    with server([*command, "--device", "cpu"], f"http://127.0.0.1:{port}", "/health") as address:
        yield address


@contextmanager
def ours(model: Path) -> Iterator[str]:
    """`medclm serve`, until the with block ends."""
    port = free_port()
    command = [sys.executable, "-m", "medclm.cli", "serve", "--model", str(model), "--port", str(port)]
    with server([*command, "max_replicas=1"], f"http://127.0.0.1:{port}", "/readyz") as address:
        yield address


@contextmanager
def server(command: list[str], address: str, ready: str) -> Iterator[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with open(os.devnull if not os.environ.get("BENCH_LOG") else os.environ["BENCH_LOG"], "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            wait_until_ready(process, address + ready)
            yield address
        finally:
            process.send_signal(2)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_ready(process: subprocess.Popen, url: str) -> None:
    for _ in range(240):
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}: {process.args}")
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass  # not there yet
        time.sleep(0.5)
    raise SystemExit(f"the server was not ready in two minutes: {process.args}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(address: str, model: str, count: int, tokens: int) -> dict[str, dict[str, float]]:
    """Requests a second and latencies at each level, after a few requests that are not counted."""
    asyncio.run(load(address, model, 4, 2, tokens, 10_000))
    return {str(n): asyncio.run(load(address, model, count, n, tokens, n * 100_000)) for n in LEVELS}


async def load(address: str, model: str, count: int, at_once: int, tokens: int, first: int) -> dict[str, float]:
    """``count`` requests, ``at_once`` at any time."""
    bodies = [json.dumps(body(model, first + n, tokens)).encode() for n in range(count)]
    seconds: list[float] = []
    said = 0

    async def client(http: httpx.AsyncClient) -> None:
        nonlocal said
        while bodies:
            content, start = bodies.pop(), time.perf_counter()
            answer = await http.post("/v1/chat/completions", content=content, headers=JSON)
            answer.raise_for_status()
            seconds.append(time.perf_counter() - start)
            said += answer.json()["usage"]["completion_tokens"]

    start = time.perf_counter()
    async with httpx.AsyncClient(base_url=address, timeout=300) as http:
        await asyncio.gather(*[client(http) for _ in range(at_once)])
    wall = time.perf_counter() - start
    return {
        "requests_per_s": count / wall,
        "tokens_per_s": said / wall,
        "median_ms": statistics.median(seconds) * 1000,
        "p99_ms": float(np.quantile(seconds, 0.99)) * 1000,
    }


JSON = {"content-type": "application/json"}


async def overload(address: str, tokens: int, at_once: int = 640) -> dict[str, float]:
    """Four times what a replica and its queue hold (32 + 128), all at the same moment."""
    bodies = [json.dumps(body("medclm", 10**7 + n % 64, tokens)).encode() for n in range(at_once)]
    statuses: list[int] = []
    accepted: list[float] = []

    async def one(http: httpx.AsyncClient, content: bytes) -> None:
        start = time.perf_counter()
        answer = await http.post("/v1/chat/completions", content=content, headers=JSON)
        statuses.append(answer.status_code)
        if answer.status_code == 200:
            accepted.append(time.perf_counter() - start)

    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as http:
        await asyncio.gather(*[one(http, content) for content in bodies])
    counts = {str(status): float(statuses.count(status)) for status in sorted(set(statuses))}
    return {**counts, "p99_ms": float(np.quantile(accepted, 0.99)) * 1000, "max_ms": max(accepted) * 1000}


def direct(model: Path, tokens: int) -> float:
    """Median milliseconds of the predictor alone, decoding of the PNG included, one request after another."""
    from medclm.serve.images import decode
    from medclm.serve.predictor import Predictor, Request

    predictor = Predictor(model, "cpu", 1)
    seconds = []
    for seed in range(24):
        data = png(10**8 + seed)
        start = time.perf_counter()
        image = decode(data, 2**26, 10**8).image
        predictor.predict([Request(image, "Is there a nodule?", max_new_tokens=tokens)])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[4:]) * 1000


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """What the targets are about."""
    faster = {
        f"requests_per_s_{n}": results["medclm"][str(n)]["requests_per_s"]
        / results["transformers"][str(n)]["requests_per_s"]
        for n in LEVELS
    }
    allowed = 1.1 * results["direct_ms"] + 20
    return {**faster, "latency_over_allowed": results["medclm"]["1"]["median_ms"] / allowed}


def show(results: dict[str, Any]) -> None:
    print(f"{'at once':>8} {'transformers':>13} {'medclm':>8} {'ratio':>6}   requests/s; medclm median and p99 in ms")
    for n in map(str, LEVELS):
        rival, mine = results["transformers"][n], results["medclm"][n]
        ratio = results["ratios"][f"requests_per_s_{n}"]
        print(
            f"{n:>8} {rival['requests_per_s']:13.1f} {mine['requests_per_s']:8.1f} {ratio:6.1f}"
            f"   {mine['median_ms']:.0f} {mine['p99_ms']:.0f}"
        )
    mine = results["medclm"]["1"]["median_ms"]
    print(f"one at a time: {mine:.0f} ms; the predictor alone {results['direct_ms']:.0f} ms")
    print(f"overload, 640 at once: {results['overload']}")


if __name__ == "__main__":
    main()
