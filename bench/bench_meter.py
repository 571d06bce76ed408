"""CPU seconds and memory of this process and everything below it."""

from __future__ import annotations

import threading


def tree() -> list:
    """This process and its descendants."""
    import psutil

    me = psutil.Process()
    return [me, *me.children(recursive=True)]


class Cpu:
    """CPU seconds, user and system, that the processes of the tree used since; those that ended meanwhile are lost."""

    def __init__(self) -> None:
        self.before = self._now()

    def seconds(self) -> float:
        return sum(used - self.before.get(process, 0.0) for process, used in self._now().items())

    def _now(self) -> dict[tuple[int, float], float]:
        import psutil

        found = {}
        for process in tree():
            try:
                times = process.cpu_times()
                found[(process.pid, process.create_time())] = times.user + times.system
            except psutil.Error:  # it ended between the listing and the look
                continue
        return found


class Peak:
    """Samples the memory of this process and its descendants (shared pages counted once) until it is left."""

    def __enter__(self) -> Peak:
        self.bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        import psutil

        while not self._stop.wait(1.0):
            total = 0
            for process in tree():
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it ended between the listing and the look
                    continue
            self.bytes = max(self.bytes, total)
