"""A cache bounded by bytes that forgets what was used longest ago. Safe for several threads."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """At most ``room`` bytes of values; a single larger value is not kept.

    Attributes:
        hits, misses: of :meth:`get` so far.
        used: bytes held.
    """

    def __init__(self, room: int) -> None:
        self.room, self.used, self.hits, self.misses = room, 0, 0, 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """The value, or None where it is not (any more) there."""
        with self._lock:
            if key not in self._items:
                self.misses += 1
                return None
            self.hits += 1
            self._items.move_to_end(key)
            return self._items[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of ``size`` bytes."""
        with self._lock:
            if size > self.room or key in self._items:
                return
            self._items[key] = (value, size)
            self.used += size
            while self.used > self.room:
                self.used -= self._items.popitem(last=False)[1][1]
