"""``medclm doctor`` over a whole cluster: the reports of its nodes, made inside or fetched by a job, and judged."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from medclm.doctor_packages import Check
from medclm.errors import MedclmError
from medclm.nodes import SHARED_MEMORY_SHARE, SKEW_LIMIT_S, VERSIONS, NodeReport


def fetch(address: str, storage: str | None) -> list[NodeReport]:
    """The reports of a remote cluster's nodes, from a job that runs ``medclm doctor`` there (some ten seconds).

    Raises:
        MedclmError: the job failed, or said something else.
    """
    from medclm import submit

    name = f"medclm-doctor-{uuid.uuid4().hex[:8]}"
    command = ["doctor", "--json", *(["--storage", storage] if storage else [])]
    with tempfile.TemporaryDirectory() as empty:  # only the package travels
        submit.submit(
            command, address, follow=False, submission_id=name, root=Path(empty), say=lambda _: None, quiet=True
        )
        submit.follow(name, address, say=lambda _: None)
    return parse(submit.logs(name, address))


def parse(log: str) -> list[NodeReport]:
    """The node reports in a job's log: the last JSON document that begins a line.

    Raises:
        MedclmError: there is none.
    """
    at = log.rfind("\n{\n") + 1 if "\n{\n" in log else 0
    try:
        document, _ = json.JSONDecoder().raw_decode(log[at:])
        return [NodeReport(**report) for report in document["nodes"]]
    except (ValueError, KeyError, TypeError) as error:
        raise MedclmError("the doctor's job on the cluster said something else", got=log[-1500:]) from error


def judge(reports: list[NodeReport], storage: str | None) -> list[Check]:
    """What is right and wrong with the nodes together; the first report is the one that others are compared with."""
    cpus, gpus = sum(report.cpus for report in reports), sum(report.gpus for report in reports)
    checks = [Check("nodes", "ok", f"{len(reports)}, {cpus:g} CPUs and {gpus:g} GPUs declared")]
    silent = {report.host: report.storage_fault for report in reports if not report.versions}
    if silent:
        checks.append(Check("node answers", "fail", _listed(silent), "look at `ray status` and these nodes' logs"))
    reports = [report for report in reports if report.versions]
    checks.append(_found("node versions", reports, _versions_of(reports), "one image for all nodes"))
    checks.append(_found("node gpus", reports, gpu_fault, "declare what is there (ray start --num-gpus)"))
    checks.append(_found("node clocks", reports, clock_fault, "run an NTP service on it", "warn"))
    remedy = "in a container: --shm-size, or an emptyDir of medium Memory at /dev/shm"
    checks.append(_found("node /dev/shm", reports, shared_memory_fault, remedy, "warn"))
    if storage:
        faults = _found("node storage", reports, lambda report: report.storage_fault, "a path or address all nodes see")
        checks.append(faults)
    return checks


def gpu_fault(report: NodeReport) -> str:
    """A node that promises GPUs to Ray which its driver does not see."""
    seen = len(report.gpu_names)
    return f"declares {report.gpus:g}, the driver sees {seen}" if report.gpus > seen else ""


def clock_fault(report: NodeReport) -> str:
    """A clock that is off by more than the limit, whatever the question's own time may explain."""
    off = abs(report.skew_s) - report.skew_error_s
    return f"{report.skew_s:+.1f} s" if off > SKEW_LIMIT_S else ""


def shared_memory_fault(report: NodeReport) -> str:
    """A /dev/shm that is smaller than Ray's object store wants to be."""
    if report.shared_memory_bytes >= SHARED_MEMORY_SHARE * report.memory_bytes:
        return ""
    size, memory = report.shared_memory_bytes / 2**30, report.memory_bytes / 2**30
    return f"{size:.1f} GiB of {memory:.1f} GiB memory, {SHARED_MEMORY_SHARE:.0%} wanted"


def _versions_of(reports: list[NodeReport]) -> Callable[[NodeReport], str]:
    first = {name: reports[0].versions.get(name, "") if reports else "" for name in VERSIONS}

    def differs(report: NodeReport) -> str:
        own = {name: report.versions.get(name, "") for name in VERSIONS}
        return ", ".join(f"{n} {v or 'none'} (not {first[n] or 'none'})" for n, v in own.items() if v != first[n])

    return differs


def _found(name: str, reports: list[NodeReport], fault: Callable[[NodeReport], str], remedy: str,
           status: str = "fail") -> Check:  # fmt: skip
    """One check over all nodes: the faults by host, or that there are none."""
    faults = {f"{report.host} ({report.node_id[:6]})": fault(report) for report in reports}
    faults = {host: text for host, text in faults.items() if text}
    if faults:
        return Check(name, status, _listed(faults), remedy)  # type: ignore[arg-type]
    said = ", ".join(f"{n} {v}" for n, v in reports[0].versions.items()) if name == "node versions" and reports else ""
    return Check(name, "ok", said or f"all {len(reports)} nodes")


def _listed(faults: dict[str, str]) -> str:
    return "\n".join(f"{host}: {text}" for host, text in faults.items())


def render(reports: list[NodeReport], width: int = 80) -> None:
    """A line a node, ``width`` columns at most."""
    from rich.console import Console
    from rich.table import Table

    table = Table(width=width)
    table.add_column("node", overflow="fold", ratio=1)
    for name in ("CPUs", "GPUs", "seen", "memory", "shm", "clock", "storage"):
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        clock = f"{report.skew_s:+.2f} s" if report.versions else "?"
        sizes = (f"{size / 2**30:.0f} G" for size in (report.memory_bytes, report.shared_memory_bytes))
        amounts = (f"{report.cpus:g}", f"{report.gpus:g}", str(len(report.gpu_names)))
        fault = "fault" if report.storage_fault else "ok"
        table.add_row(f"{report.host} {report.node_id[:6]}", *amounts, *sizes, clock, fault)
    Console(width=width).print(table)
