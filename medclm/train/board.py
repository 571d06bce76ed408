"""How the launcher learns what its workers do: an actor that the first worker tells, and a thread that asks it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done, steps in all, latest metrics)."""


@contextmanager
def watched(progress: Progress | None, steps: int) -> Any:
    """An actor that the first worker tells its metrics to, and a thread that passes them on; None without progress."""
    if progress is None:
        yield None
        return
    import ray

    board: Any = ray.remote(num_cpus=0)(Board).remote()  # type: ignore[attr-defined]
    stopped = threading.Event()

    def watch() -> None:
        last = -1
        while not stopped.wait(0.5):
            metrics = ray.get(board.get.remote())
            if metrics and metrics["step"] != last:
                last = metrics["step"]
                progress(int(last), steps, metrics)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield board
    finally:
        stopped.set()
        thread.join()
        ray.kill(board)


class Board:
    """The latest metrics of a run, for whoever asks."""

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}

    def put(self, metrics: dict[str, float]) -> None:
        self._metrics = metrics

    def get(self) -> dict[str, float]:
        return self._metrics
