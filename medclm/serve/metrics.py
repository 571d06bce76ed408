"""Prometheus metrics of one ingress process. Nothing in them tells who asked what."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from medclm.serve.backend import Reply
from medclm.serve.engine import Stats

SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
REPLICA_S = 300.0
"""A replica that has not answered for so long is left out."""
GAUGES = {
    "waiting": "Requests that wait for a row of the batch",
    "running": "Rows that decode",
    "feature_bytes": "Bytes of image features in the cache",
}
TOTALS = {
    "steps": "Decoding steps",
    "row_steps": "Rows times decoding steps; divided by steps: the mean batch size",
    "feature_hits": "Pictures whose features were in the cache",
    "feature_misses": "Pictures that were encoded",
    "failed": "Requests that failed in the engine",
}


class Metrics:
    """Counters of this process, and the engines of the replicas as their last replies told."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: dict[str, Any] = {"registry": self.registry, "namespace": "medclm"}
        self.requests = Counter("requests", "Answered requests", ["path", "model", "status"], **make)
        self.seconds = Histogram("request_seconds", "Time to answer", ["path"], buckets=SECONDS, **make)
        self.in_flight = Gauge("requests_in_flight", "Requests that are being answered", **make)
        self.tokens = Counter("tokens", "Tokens of answered requests", ["model", "kind"], **make)
        self.engine = {
            name: Gauge(f"engine_{name}", text, ["replica"], **make) for name, text in (GAUGES | TOTALS).items()
        }
        self._seen: dict[str, float] = {}

    def answered(self, reply: Reply, model: str) -> None:
        """Count an answer's tokens and note its replica's engine."""
        self.tokens.labels(model, "prompt").inc(reply.prediction.prompt_tokens)
        self.tokens.labels(model, "completion").inc(reply.prediction.completion_tokens)
        if reply.stats is not None:
            self._note(reply.replica, reply.stats)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        old = time.monotonic() - REPLICA_S
        for replica in [name for name, seen in self._seen.items() if seen < old]:
            del self._seen[replica]
            for gauge in self.engine.values():
                gauge.remove(replica)
        return generate_latest(self.registry)

    def _note(self, replica: str, stats: Stats) -> None:
        self._seen[replica] = time.monotonic()
        for name, gauge in self.engine.items():
            gauge.labels(replica).set(getattr(stats, name))
