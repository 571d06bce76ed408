"""Giving back what a stopped or killed trial had reserved.

Ray Train reserves a placement group for a run's workers. It belongs to the job, not to the run's controller, so it
outlives a trial that Tune stops. Ray Train's own helper for that asks the dashboard whether the controller lives, and
waits forever where there is no dashboard (ray 2.60, ``placement_group_cleaner.py``): after a few stopped trials nothing
has room any more. So each run writes down its group, and the search removes those whose controller is dead.
"""

from __future__ import annotations

import pickle
import time
import uuid
from pathlib import Path
from typing import Any

EVERY_S = 1.0


def recorder(folder: str) -> Any:
    """A callback for Ray Train that writes a run's placement groups to ``folder``, from its controller."""
    import ray
    from ray.train.v2._internal.execution.callback import WorkerGroupCallback

    class RecordPlacement(WorkerGroupCallback):
        def after_worker_group_start(self, worker_group: Any) -> None:
            group = worker_group.get_worker_group_state().placement_group_handle.placement_group
            controller = ray.get_runtime_context().get_actor_id()
            Path(folder).mkdir(parents=True, exist_ok=True)
            partial = Path(folder) / f".{uuid.uuid4().hex}"
            partial.write_bytes(pickle.dumps((controller, group)))
            partial.rename(Path(folder) / f"{controller}-{group.id.hex()}")

    return RecordPlacement()


class Reaper:
    """Removes placement groups whose controller is dead, at most every :data:`EVERY_S` seconds."""

    def __init__(self, folder: str) -> None:
        self.folder, self.next = Path(folder), 0.0

    def __call__(self) -> list[str]:
        """The files of the groups that it removed."""
        if time.monotonic() < self.next:
            return []
        self.next = time.monotonic() + EVERY_S
        return [file.name for file in sorted(self.folder.glob("[!.]*")) if self._release(file)]

    def finish(self, timeout_s: float = 30) -> None:
        """Waits for the controllers of stopped trials to die, and removes their groups."""
        until = time.monotonic() + timeout_s
        while any(self.folder.glob("[!.]*")) and time.monotonic() < until:
            self()
            time.sleep(EVERY_S / 4)

    def _release(self, file: Path) -> bool:
        from ray._private.state import actors
        from ray.util.placement_group import remove_placement_group

        controller, group = pickle.loads(file.read_bytes())
        if actors(controller).get("State") not in (None, "DEAD"):
            return False
        remove_placement_group(group)  # one that is gone already is no error
        file.unlink()
        return True
