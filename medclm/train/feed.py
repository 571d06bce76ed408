"""Rows to batches: views by the schedule, collated on a thread of their own while the step before is computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from medclm.data.records import Question, Record

if TYPE_CHECKING:
    from medclm.train.collate import Batch
    from medclm.train.data import Position, Rows
    from medclm.train.views import Example

T = TypeVar("T")


def steps_of(
    rows: Rows,
    view: Callable[[Record, Question, int, int], Example],
    make_batch: Callable[[list[Example]], Batch],
    sizes: tuple[int, int],
    steps: range,
    first_index: int,
) -> Iterator[tuple[int, list[Batch], Position]]:
    """(step, its micro-batches, data position after it) of one rank.

    Args:
        rows: of this rank.
        view: (record, question, step, place in the global batch) to an example.
        sizes: (micro-batches of a step, examples of a micro-batch).
        steps: to make.
        first_index: this rank's first place in the global batch.
    """
    stream = iter(rows)
    for step in steps:
        batches = []
        for micro in range(sizes[0]):
            places = range(first_index + micro * sizes[1], first_index + (micro + 1) * sizes[1])
            batches.append(make_batch([view(*next(stream), step, place) for place in places]))
        yield step, batches, rows.position


def prefetch(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """``items``, made ahead on a background thread. An error there is raised here, in its place."""
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(entry: tuple[str, object]) -> None:
        while not stopped.is_set():
            try:
                return ready.put(entry, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(("item", item))
                if stopped.is_set():
                    return
            put(("end", None))
        except BaseException as error:
            put(("error", error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
        thread.join()
