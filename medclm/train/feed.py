"""Rows to steps: views by the schedule, dealt out by length, collated on a thread while the step before is computed."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from medclm.data.records import Question, Record

if TYPE_CHECKING:
    from medclm.train.collate import Batch
    from medclm.train.data import Position, Rows
    from medclm.train.views import Example

T = TypeVar("T")


@dataclass
class Stream:
    """One stream of rows and the places that it fills in every global batch."""

    rows: Rows
    places: range


@dataclass(frozen=True)
class Step:
    """What a worker does in one step.

    Attributes:
        number: of the step, from 0.
        batches: its micro-batches.
        positions: of the worker's streams, from which the steps after this one can be drawn again.
    """

    number: int
    batches: list[Batch]
    positions: list[Position]


@dataclass(frozen=True)
class Plan:
    """How examples become micro-batches: micro-batches of a step, steps of a pool, seed of the order of lengths."""

    accumulate: int = 1
    pool_steps: int = 1
    seed: int = 0


def steps_of(
    streams: list[Stream],
    view: Callable[[Record, Question, int, int], Example],
    length: Callable[[Example], int],
    make_batch: Callable[[list[Example]], Batch],
    plan: Plan,
    steps: range,
) -> Iterator[Step]:
    """The steps of one worker.

    A pool is drawn at once: the stage of an example is that of the step and place that it was drawn for, then each
    stream's examples are dealt to the pool's steps by length. Which examples a pool and a step have is a function of
    the seed and the rows, not of the workers.

    Args:
        view: (record, question, step, place in the global batch) to an example.
        length: tokens of an example.
        steps: to make; its end is the run's.
    """
    sources = [iter(stream.rows) for stream in streams]
    for start in range(steps.start - steps.start % plan.pool_steps, steps.stop, plan.pool_steps):
        numbers = range(start, min(start + plan.pool_steps, steps.stop))
        before = [stream.rows.position for stream in streams]
        order = list(range(len(numbers)))
        random.Random(f"{plan.seed}/{start}/lengths").shuffle(order)
        dealt: list[list[Example]] = [[] for _ in numbers]
        for stream, source in zip(streams, sources, strict=True):
            drawn = [view(*next(source), step, place) for step in numbers for place in stream.places]
            for step, examples in enumerate(_deal(drawn, order, length)):
                dealt[step] += examples
        after = [stream.rows.position for stream in streams]
        for number, examples in zip(numbers, dealt, strict=True):
            if number >= steps.start:
                batches = [make_batch(part) for part in _cut(sorted(examples, key=length), plan.accumulate)]
                yield Step(number, batches, after if number == numbers[-1] else before)


def _deal(examples: list[T], order: list[int], length: Callable[[T], int]) -> list[list[T]]:
    """``examples`` in equal parts of like length; the shortest go to step ``order[0]``. One part: as they are."""
    if len(order) == 1:
        return [examples]
    by_length, size = sorted(examples, key=length), len(examples) // len(order)
    parts: list[list[T]] = [[] for _ in order]
    for n, step in enumerate(order):
        parts[step] = by_length[n * size : (n + 1) * size]
    return parts


def _cut(examples: list[T], parts: int) -> list[list[T]]:
    """Consecutive parts that differ by at most one in size."""
    return [examples[n * len(examples) // parts : (n + 1) * len(examples) // parts] for n in range(parts)]


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
