"""Request ids, access log and metrics around every request. Questions, answers, pictures, file names: never logged."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from medclm.serve.guards import Receive, Scope, Send, logger
from medclm.serve.metrics import Metrics

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Trace:
    """ASGI middleware: ``X-Request-Id`` in and out, one JSON line a request, counters by route and model.

    A handler says which model it asked by ``request.state.model``; other requests count under ``-``.
    """

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity, status, start = _identity(scope["headers"]), 0, time.perf_counter()
        state = scope.setdefault("state", {})
        state["id"] = identity

        async def named(event: MutableMapping[str, Any]) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event = {**event, "headers": [*event["headers"], (b"x-request-id", identity.encode())]}
            await send(event)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, named)
        finally:
            self.metrics.in_flight.dec()
            self._note(scope, state, status, time.perf_counter() - start)

    def _note(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")  # the template, never what a client wrote
        self.metrics.requests.labels(route, state.get("model", "-"), str(status or 499)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        line: dict[str, Any] = {
            "id": state["id"],
            "method": scope["method"],
            "route": route,
            "status": status or 499,
            "ms": round(seconds * 1000, 1),
            **{name: state[name] for name in ("model", "prompt_tokens", "completion_tokens") if name in state},
        }
        logger.info(json.dumps(line))


def _identity(headers: list[tuple[bytes, bytes]]) -> str:
    given = dict(headers).get(b"x-request-id", b"")
    return given.decode() if _ID.fullmatch(given) else uuid.uuid4().hex
