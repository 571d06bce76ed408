"""Several Ray nodes on this machine: raylets, object stores and worker processes of their own, killed one by one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

QUICK_CHECKS = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "300",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""A dead node is noticed after about a second instead of Ray's own 5 to 20. Set before the head starts."""
CGROUPS = Path("/sys/fs/cgroup/cpu")
"""Where CPU shares are set; cgroup version 1, writable by root."""


class Nodes:
    """A head without CPUs, where the driver is connected, and named nodes that join and are killed.

    Args:
        store_bytes: of each node's object store.
        cpu_share: cores that a node may use, all its processes together; None: as much as there is. Needs a writable
            :data:`CGROUPS`.
        dashboard: with the job server, whose address is then ``dashboard``.
    """

    def __init__(self, store_bytes: int = 100_000_000, cpu_share: float | None = None, dashboard: bool = False) -> None:
        import ray
        from ray.cluster_utils import Cluster

        self.store_bytes, self.cpu_share = store_bytes, cpu_share
        head = {"num_cpus": 0, "include_dashboard": dashboard, "object_store_memory": store_bytes}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: dict[str, Any] = {}
        self.context = ray.init(address=self._cluster.address, log_to_driver=False, logging_level="error")
        self.dashboard = f"http://{self.context.dashboard_url}" if dashboard else ""
        self.head_id = ray.get_runtime_context().get_node_id()

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()
        for name in self._nodes:
            _remove_group(name)

    def add(self, name: str, **resources: float) -> None:
        """A node joins: ``num_cpus``, ``num_gpus`` as it declares them, whether it has them or not."""
        node = self._cluster.add_node(object_store_memory=self.store_bytes, **resources)
        self._nodes[name] = node
        if self.cpu_share is not None:
            _limit(name, _raylet(node), self.cpu_share)

    def kill(self, name: str) -> float:
        """SIGKILL for the node and all its workers, as when a machine loses power; returns the time of it."""
        raylet = psutil.Process(_raylet(self._nodes[name]))
        for process in [raylet, *raylet.children(recursive=True)]:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        killed = time.monotonic()
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)
        _remove_group(name)
        return killed

    def drain(self, name: str, seconds: float) -> None:
        """Tells the cluster that the node will be taken away in so many seconds, as a cloud tells of a spot machine."""
        from ray._raylet import GcsClient
        from ray.core.generated import autoscaler_pb2

        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        node, deadline_ms = self._nodes[name].node_id, int((time.time() + seconds) * 1000)
        accepted, why = GcsClient(address=self._cluster.address).drain_node(node, reason, "reclaimed", deadline_ms)
        assert accepted, why

    def name_of(self, node_id: str) -> str:
        """The name of a node by Ray's id; ``head`` for the one that the driver is on, the id where it is unknown."""
        names = {node.node_id: name for name, node in self._nodes.items()} | {self.head_id: "head"}
        return names.get(node_id, node_id)

    def busy(self) -> list[str]:
        """Names of the nodes whose CPUs are all in use."""
        from ray._private.state import available_resources_per_node

        free = available_resources_per_node()
        return [name for name, node in self._nodes.items() if not free.get(node.node_id, {}).get("CPU")]


def until(found: Callable[[], Any], limit_s: float = 120, pause_s: float = 0.05) -> Any:
    """The first true result of ``found``; AssertionError after ``limit_s`` seconds."""
    end = time.monotonic() + limit_s
    while not (result := found()):
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(pause_s)
    return result


def spilled_bytes(address: str) -> int:
    """Bytes that the nodes of the cluster at ``address`` have written to disk because their stores were full."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    return int(get_memory_info_reply(get_state_from_address(address)).store_stats.spilled_bytes_total)


def can_limit() -> bool:
    """Whether CPU shares can be set here."""
    return os.access(CGROUPS / "cpu.cfs_quota_us", os.F_OK) or os.access(CGROUPS, os.W_OK)


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _limit(name: str, raylet: int, cores: float) -> None:
    """Puts a raylet, and so every worker that it starts from now on, into a group of at most ``cores`` cores."""
    group = CGROUPS / f"medclm-bench-{os.getpid()}-{name}"
    group.mkdir()
    period = 50_000
    (group / "cpu.cfs_period_us").write_text(str(period))
    (group / "cpu.cfs_quota_us").write_text(str(int(cores * period)))
    for process in [psutil.Process(raylet), *psutil.Process(raylet).children(recursive=True)]:
        (group / "cgroup.procs").write_text(str(process.pid))


def _remove_group(name: str) -> None:
    group = CGROUPS / f"medclm-bench-{os.getpid()}-{name}"
    if not group.is_dir():
        return
    until(lambda: not (group / "cgroup.procs").read_text(), 20)
    group.rmdir()
