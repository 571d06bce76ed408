"""Diagnosis of a machine: versions, hardware, the Ray cluster, storage, optional parts; each with its remedy."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm import doctor_nodes, storage
from medclm.doctor_packages import OPTIONAL, VERSIONED, Check, extra, package, python
from medclm.errors import MedclmError
from medclm.nodes import NodeReport

if TYPE_CHECKING:
    from medclm.raycluster import Cluster


@dataclass(frozen=True)
class Diagnosis:
    """The checks, and what the nodes of the cluster said where one was looked at."""

    checks: list[Check]
    nodes: list[NodeReport]


def diagnose(address: str | None = None, storage: str | None = None) -> Diagnosis:
    """Looks at this machine, and at a cluster where one is named; never raises for what it finds.

    Args:
        address: of a Ray cluster that must answer, see :func:`medclm.raycluster.resolve_address`; its nodes are asked
            by a job. None: the cluster that RAY_ADDRESS names.
        storage: a directory or URL to write to, also by every node; the working directory, here alone, when None.
    """
    checks = [python(), *(package(name) for name in VERSIONED)]
    found, nodes = _ray(address, storage)
    checks += [_cpu(), _gpu(), _shared_memory(), *found, _storage(storage or os.getcwd()), _shipped_weights()]
    checks += [extra(name) for name in OPTIONAL]
    return Diagnosis(checks, nodes)


def failed(checks: list[Check]) -> bool:
    """Whether any check failed: the exit code of ``medclm doctor`` is 1 then."""
    return any(check.status == "fail" for check in checks)


def as_json(found: Diagnosis) -> dict[str, Any]:
    """``{"ok": bool, "checks": [{"name", "status", "detail", "remedy"}, …], "nodes": [a NodeReport's fields, …]}``."""
    checks = [asdict(check) for check in found.checks]
    return {"ok": not failed(found.checks), "checks": checks, "nodes": [asdict(node) for node in found.nodes]}


def render(found: Diagnosis, width: int = 80) -> None:
    """Prints a table, ``width`` columns at most; a remedy stands below its detail. Colours in a terminal only."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(width=width)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", ratio=1, overflow="fold")
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for check in found.checks:
        text = Text(check.detail)
        if check.remedy and check.status != "ok":
            text.append(f"\n-> {check.remedy}", style="dim")
        table.add_row(check.name, Text(check.status, style=styles[check.status]), text)
    Console(width=width).print(table)
    if found.nodes:
        doctor_nodes.render(found.nodes, width)


def _cpu() -> Check:
    import psutil

    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory()
    detail = f"{cores} cores, {memory.total / 2**30:.1f} GiB memory, {memory.available / 2**30:.1f} GiB available"
    return Check("cpu", "ok", detail)


def _gpu() -> Check:
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            return Check(
                "gpu", "warn", "none: training runs on the CPU, fit for the tiny model", "use a machine with a GPU"
            )
        bf16 = torch.cuda.is_bf16_supported()
        names = ", ".join(sorted({torch.cuda.get_device_name(index) for index in range(count)}))
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    except (ImportError, OSError, RuntimeError) as error:
        return Check("gpu", "fail", f"torch cannot look: {error}", "reinstall torch for this CUDA version")
    detail = f"{count} × {names}, {memory:.0f} GiB, bfloat16 {'yes' if bf16 else 'no'}, CUDA {torch.version.cuda}"
    return Check("gpu", "ok" if bf16 else "warn", detail, "" if bf16 else "set model.dtype=float32")


def _shared_memory(folder: Path = Path("/dev/shm")) -> Check:
    import psutil

    if not folder.is_dir():
        return Check("shared memory", "warn", f"{folder} is not there: Ray's object store uses the disk")
    size, memory = shutil.disk_usage(folder).total, psutil.virtual_memory().total
    detail = f"{folder} has {size / 2**30:.1f} GiB of {memory / 2**30:.1f} GiB memory"
    if size >= 0.3 * memory:
        return Check("shared memory", "ok", detail)
    return Check("shared memory", "warn", f"{detail}; Ray's object store wants 30 %", "in a container: --shm-size=10g")


def _ray(address: str | None, url: str | None) -> tuple[list[Check], list[NodeReport]]:
    """The cluster, by its job server from outside, or as one of its jobs; and its nodes where it was asked for."""
    from medclm.raycluster import ADDRESS_VARIABLES, Cluster, UnreachableError

    asked = address or next((os.environ[name] for name in ADDRESS_VARIABLES if os.environ.get(name)), None)
    own = importlib.metadata.version("ray")
    if asked and address is None and "://" not in asked:
        return _ray_inside(asked, own, url)
    try:
        cluster = Cluster(address, timeout_s=5.0)
        theirs = cluster.version()
        checks = [_ray_version(cluster, own, theirs), _token(cluster)]
        if not asked or theirs != own:
            return checks, []
        nodes = doctor_nodes.fetch(cluster.address, url)
    except UnreachableError as error:
        if asked:
            return [Check("ray cluster", "fail", error.message(), "start it, or correct the address")], []
        return [Check("ray cluster", "ok", "no cluster here: a command starts a local Ray of its own")], []
    except MedclmError as error:
        return [Check("ray cluster", "fail", error.message(), _remedy(error))], []
    return checks + doctor_nodes.judge(nodes, url), nodes


def _ray_version(cluster: Cluster, own: str, theirs: str) -> Check:
    same = theirs == own
    remedy = "" if same else f"install ray {theirs} here, or {own} there"
    return Check("ray cluster", "ok" if same else "fail", f"{cluster.address} answers, ray {theirs}", remedy)


def _token(cluster: Cluster) -> Check:
    """Whether the cluster takes the token that is here, and refuses whoever has none."""
    cluster.jobs()
    if cluster.lets_anyone_in():
        remedy = "start it with RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes one)"
        return Check("ray token", "warn", "the cluster runs jobs for anyone who reaches its port", remedy)
    return Check("ray token", "ok", "accepted; without it the cluster refuses")


def _ray_inside(address: str, own: str, url: str | None) -> tuple[list[Check], list[NodeReport]]:
    """The cluster of which this process is a job (``RAY_ADDRESS=host:port`` of its head process)."""
    import ray
    from ray.exceptions import RayError

    from medclm import nodes

    began = not ray.is_initialized()
    try:
        if began:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        reports = nodes.survey(url)
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        detail = f"{address} does not answer: {error}"
        return [Check("ray cluster", "fail", detail, "start it, or unset RAY_ADDRESS")], []
    finally:
        if began:
            ray.shutdown()
    checks = doctor_nodes.judge(reports, url)
    return [Check("ray cluster", "ok", f"{address} answers, ray {own}"), *checks], reports


def _remedy(error: MedclmError) -> str:
    return str(error.details["remedy"] or "")


def _storage(url: str) -> Check:
    probe = storage.join(url, f".medclm-doctor-{uuid.uuid4().hex[:8]}")
    data = os.urandom(4096)
    try:
        storage.write_atomic(probe, data)
        same = storage.read_bytes(probe) == data
        fs, path = storage.open_fs(probe)
        fs.rm_file(path)
    except MedclmError as error:
        return Check("storage", "fail", error.message(), _remedy(error) or "check the address and the access rights")
    except Exception as error:  # every object store has its own kinds of error
        return Check(
            "storage", "fail", f"{url}: {type(error).__name__}: {error}", "check the address and the credentials"
        )
    if not same:
        return Check("storage", "fail", f"{url} gave back other bytes than were written", "use another storage")
    return Check("storage", "ok", f"{url}: written, read back and removed")


def _shipped_weights() -> Check:
    from medclm.data.segmenters.unet import SHIPPED

    for name, stem in SHIPPED.items():
        weights, facts = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
        if not (weights.is_file() and facts.is_file()):
            return Check("shipped weights", "fail", f"unet:{name} is not at {stem}", "install medclm again")
        if hashlib.sha256(weights.read_bytes()).hexdigest() != json.loads(facts.read_text())["sha256"]:
            return Check(
                "shipped weights", "fail", f"{weights} is not the file that was shipped", "install medclm again"
            )
    return Check("shipped weights", "ok", ", ".join(f"unet:{name}" for name in SHIPPED))
