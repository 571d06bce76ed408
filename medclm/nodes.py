"""What every node of a Ray cluster says about itself, and what does not fit together; for ``medclm doctor``."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medclm import storage

SKEW_LIMIT_S = 1.0
"""Clocks that differ by more break signatures of object stores and the order of log lines."""
SHARED_MEMORY_SHARE = 0.3
"""Share of a node's memory that Ray's object store wants in /dev/shm."""
VERSIONS = ("python", "ray", "torch", "medclm")


@dataclass(frozen=True)
class NodeReport:
    """One node.

    Attributes:
        node_id, host: Ray's id and the address it is known by.
        versions: of :data:`VERSIONS`; "" where a package is not installed.
        cpus, gpus: as the node declares them to Ray.
        gpu_names: as ``nvidia-smi`` sees them.
        memory_bytes, shared_memory_bytes: of the node; 0 shared where there is no /dev/shm.
        skew_s, skew_error_s: its clock minus the asking process's, and half the time that the question took.
        storage_fault: why its write or a read of another node's file failed; "" when both worked or none was asked.
    """

    node_id: str
    host: str
    versions: dict[str, str]
    cpus: float
    gpus: float
    gpu_names: list[str] = field(default_factory=list)
    memory_bytes: int = 0
    shared_memory_bytes: int = 0
    skew_s: float = 0.0
    skew_error_s: float = 0.0
    storage_fault: str = ""


def survey(url: str | None = None, timeout_s: float = 60) -> list[NodeReport]:
    """Asks every living node of the connected Ray; sorted by host and id, with the driver's own node first.

    Args:
        url: a directory or address that every node writes a file to; each then reads the files of all. None: skipped.
        timeout_s: for a node to answer.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    own = ray.get_runtime_context().get_node_id()
    alive = sorted(
        (node for node in ray.nodes() if node["Alive"]),
        key=lambda node: (node["NodeID"] != own, node["NodeManagerAddress"], node["NodeID"]),
    )

    def on(node: dict[str, Any], function: Callable[..., Any], *arguments: Any) -> Any:
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=where)
        return task.remote(*arguments)

    def answer(reference: Any) -> Any:
        try:
            return ray.get(reference, timeout=timeout_s)
        except (RayError, GetTimeoutError) as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"

    facts = [answer(one) for one in [on(node, look) for node in alive]]
    skews = [_skew(lambda: answer(on(node, clock))) for node in alive]  # noqa: B023
    faults = _shared(url, alive, on, answer) if url else [""] * len(alive)
    return [_report(*four) for four in zip(alive, facts, skews, faults, strict=True)]


def look() -> dict[str, Any]:
    """The facts of the machine that this runs on."""
    import psutil

    shared = Path("/dev/shm")
    return {
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version(), **_versions()},
        "gpu_names": gpu_names(),
        "memory_bytes": psutil.virtual_memory().total,
        "shared_memory_bytes": shutil.disk_usage(shared).total if shared.is_dir() else 0,
    }


def clock() -> float:
    """The time of the machine that this runs on, seconds since 1970."""
    return time.time()


def gpu_names() -> list[str]:
    """Names of the GPUs that the driver of this machine sees, whatever CUDA_VISIBLE_DEVICES says; [] without one."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def write_file(url: str, name: str, data: bytes) -> str:
    """Writes a file below ``url``; what went wrong, or ""."""
    try:
        storage.write_atomic(storage.join(url, name), data)
    except Exception as error:  # every object store has its own kinds of error
        return f"cannot write: {error}"
    return ""


def read_files(url: str, contents: dict[str, bytes]) -> str:
    """Whether every file below ``url`` has the content that is given for its name: what is wrong, or ""."""
    for name, data in contents.items():
        try:
            found = storage.read_bytes(storage.join(url, name))
        except Exception as error:
            return f"cannot read what another node wrote: {error}"
        if found != data:
            return f"{name} is not what was written"
    return ""


def _shared(url: str, nodes: list[dict], on: Callable[..., Any], answer: Callable[[Any], Any]) -> list[str]:
    """Per node, what is wrong with the storage at ``url``: each writes a file, then each reads the files of all."""
    names = [f".medclm-doctor-{uuid.uuid4().hex[:8]}-{number}" for number in range(len(nodes))]
    data = [name.encode() * 64 for name in names]
    waiting = [on(node, write_file, url, *pair) for node, *pair in zip(nodes, names, data, strict=True)]
    faults = [answer(one) for one in waiting]
    written = {n: d for n, d, fault in zip(names, data, faults, strict=True) if not fault}
    reads = [answer(one) for one in [on(node, read_files, url, written) for node in nodes]]
    for node, name in zip(nodes, names, strict=True):  # where the storage is not shared, only the writer can remove it
        answer(on(node, remove_file, url, name))
    return [fault or read for fault, read in zip(faults, reads, strict=True)]


def remove_file(url: str, name: str) -> None:
    """Removes a file below ``url`` if it is there."""
    fs, path = storage.open_fs(storage.join(url, name))
    if fs.exists(path):
        fs.rm_file(path)


def _skew(ask: Callable[[], Any], times: int = 3) -> tuple[float, float]:
    """(other clock minus this one, half the round trip) of the quickest of several questions; (0, 0) without answer."""
    best = (0.0, float("inf"))
    for _ in range(times):
        before = time.time()
        other = ask()
        after = time.time()
        if isinstance(other, float) and (after - before) / 2 < best[1]:
            best = (other - (before + after) / 2, (after - before) / 2)
    return best if best[1] < float("inf") else (0.0, 0.0)


def _report(node: dict[str, Any], facts: Any, skew: tuple[float, float], fault: Any) -> NodeReport:
    amounts = node["Resources"]
    known = {"node_id": node["NodeID"], "cpus": amounts.get("CPU", 0.0), "gpus": amounts.get("GPU", 0.0)}
    if isinstance(facts, str):  # the node did not answer; its error stands where its storage's would
        return NodeReport(**known, host=node["NodeManagerAddress"], versions={}, storage_fault=facts)
    facts = {**facts, "host": f"{facts['host']} {node['NodeManagerAddress']}"}
    return NodeReport(**known, **facts, skew_s=skew[0], skew_error_s=skew[1], storage_fault=fault)


def _versions() -> dict[str, str]:
    """Of ray and torch as installed, and of the medclm that runs; "" for a package that is not there."""
    from medclm import __version__

    found = {"medclm": __version__}
    for name in ("ray", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found
