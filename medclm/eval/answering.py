"""From a plan of asks to a reply for each: what is there already is used, the rest is put to the source."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medclm.eval.asks import Key, Plan, Window, make_windows
from medclm.eval.replies import Answers, Reply, by_ask, remaining
from medclm.eval.rows import MASKS
from medclm.eval.sources import Progress, Source

MASK = "mask"
"""Name that the two masked pictures have among the controls."""


@dataclass(frozen=True)
class Answered:
    """Every wanted reply, and what it took: asks put to the source now, kept from before, shared by equal questions."""

    replies: dict[Key, Reply]
    asked: int
    kept: int
    shared: int
    seconds: float


def variants_of(source: Source, controls: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The variants to ask for, and a note on controls that the source cannot run."""
    wanted = [name for name in controls if name not in ("majority", MASK)] + (list(MASKS) if MASK in controls else [])
    if not source.sees_images:
        left_out = [name for name in controls if name != "majority"]
        notes = [f"no {', '.join(left_out)} control: answers come from a file"] if left_out else []
        return ("question",), notes
    if "text_only" in wanted and not source.without_picture:
        wanted.remove("text_only")
        return ("question", *wanted), ["no text_only control: this predictor always wants a picture"]
    return ("question", *wanted), []


def answer_all(
    source: Source, plan: Plan, decoding: dict[str, Any], out: str, progress: Progress | None = None
) -> Answered:
    """Has every ask of the plan answered; replies are stored window by window as they come in.

    Args:
        decoding: what answers depend on beside the source: mode, limits, ``batch_size``.
        out: the evaluation's directory.
        progress: called with (asks done, asks in all, what).
    """
    windows = make_windows(plan, decoding["batch_size"])
    store = Answers(out, {"source": source.identity, **decoding}) if source.identity is not None else None
    todo = _Todo(windows, store.load() if store else {})
    began = time.perf_counter()
    if todo.asking:
        source.answer(todo.asking, lambda number, replies: todo.take(number, replies, store, progress))
    seconds = time.perf_counter() - began
    if store:
        store.finish(windows)
    each = by_ask(plan, windows, todo.found)
    replies = {key: each[place] for key, place in plan.wanted.items()}
    total = len(plan.asks)
    return Answered(replies, total - todo.kept, todo.kept, len(plan.wanted) - total, seconds)


class _Todo:
    """What is still to ask, and every reply that is there.

    Attributes:
        found: replies by the name of their ask.
        asking: windows without what is known.
    """

    def __init__(self, windows: Sequence[Window], known: dict[str, Reply]) -> None:
        self.found = dict(known)
        self.asking = [left for window in windows if (left := remaining(window, known)).asks]
        self.total = sum(len(window.asks) for window in windows)
        self.kept = self.done = self.total - sum(len(window.asks) for window in self.asking)

    def take(self, number: int, replies: list[Reply], store: Answers | None, progress: Progress | None) -> None:
        """Replies to the ``number``-th window of ``asking``."""
        window = self.asking[number]
        self.found |= dict(zip(window.names, replies, strict=True))
        if store:
            store.keep(window, replies)
        self.done += len(replies)
        if progress:
            progress(self.done, self.total, "questions and controls")
