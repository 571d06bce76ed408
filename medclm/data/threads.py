"""A bounded number of threads for many small reads, where storage is far and one read waits for the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 16
AHEAD = 1024
"""How many results are at most read ahead of the one that is asked for."""
T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Sequence[T], threads: int = THREADS) -> Iterator[R]:
    """``function(item)`` of each item, in the order of the items; at most ``threads`` run at a time.

    What ``function`` raises is raised where its result would have come.
    """
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), AHEAD):
            yield from pool.map(function, items[start : start + AHEAD])
