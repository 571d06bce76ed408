"""Answers by idempotency key: a request that comes again, because its connection broke, is not computed again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from medclm.serve.guards import ApiError

T = TypeVar("T")
KEEP_S = 600.0
MAX_ENTRIES = 4096


@dataclass
class _Entry(Generic[T]):
    digest: bytes
    task: asyncio.Task[T]
    born: float = field(default_factory=time.monotonic)


class Once(Generic[T]):
    """Keeps the answers of the last ten minutes, at most 4,096 of them, in this process. Failures are not kept."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()

    async def run(self, key: str | None, content: bytes, work: Callable[[], Awaitable[T]]) -> T:
        """``work()``, or the answer it gave, or is about to give, under the same key.

        The work goes on when the client that asked first leaves, since it may come back for it.

        Args:
            key: the client's idempotency key, made distinct by who asks; None always works anew.
            content: what is asked.

        Raises:
            ApiError: 409, the key was used for something else. What ``work`` raises.
        """
        if key is None:
            return await work()
        digest = hashlib.sha256(content).digest()
        self._forget()
        entry = self._entries.get(key)
        if entry is not None and entry.digest != digest:
            raise ApiError(409, "the idempotency key was used for another request", code="idempotency_key_reused")
        if entry is None or _failed(entry.task):
            entry = self._entries[key] = _Entry(digest, asyncio.ensure_future(work()))  # type: ignore[arg-type]
        return await asyncio.shield(entry.task)

    def _forget(self) -> None:
        old = time.monotonic() - KEEP_S
        while self._entries and (len(self._entries) > MAX_ENTRIES or next(iter(self._entries.values())).born < old):
            self._entries.popitem(last=False)


def _failed(task: asyncio.Task) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
