"""The schedule over a run: a state for each window of steps, and the wait for one that is not there yet.

Examples are made ahead of the step that is being computed, so a window's mixture must not depend on a loss that is not
known yet: window w follows the state after window w - 2. That makes every draw the same however far ahead it is made.
"""

from __future__ import annotations

import threading
from typing import Any

from medclm.config import ScheduleConfig
from medclm.train import schedule
from medclm.train.schedule import Losses, Shares, State
from medclm.train.views import Stage


class Course:
    """One run's schedule. :meth:`stage` and :meth:`shares` may be called from another thread than :meth:`observe`.

    Args:
        config: of the schedule.
        steps, seed: of the run.
        pool_steps: steps that are drawn at once; a window is at least as long.
    """

    def __init__(self, config: ScheduleConfig, steps: int, seed: int, pool_steps: int = 1) -> None:
        self.config, self.steps, self.seed = config, steps, seed
        self.window = max(schedule.window_of(config, steps), pool_steps)
        self.learns = config.name in ("competence", "paper")
        self._states: dict[int, State] = {0: {}, 1: {}}
        self._changed = threading.Condition()
        self._closed = False

    def stage(self, step: int, place: int, domain: str) -> Stage:
        """The stage of the example at ``place`` of the global batch of ``step``."""
        return schedule.stage_of(self.shares(step, domain), self.seed, step, place)

    def shares(self, step: int, domain: str) -> Shares:
        """The mixture of a domain at a step. Waits until the windows before have been observed."""
        state = self._state(step // self.window) if self.learns else {}
        return schedule.shares(self.config, self.steps, state, step, domain)

    def ends(self, done: int) -> bool:
        """Whether a window ends with step number ``done`` (from 1) and its losses are wanted."""
        return self.learns and (done % self.window == 0 or done == self.steps)

    def observe(self, done: int, train: Losses, held_out: Losses) -> None:
        """Ends the window before step ``done``. The same losses on every rank give the same state."""
        newest = max(self._states)
        state = schedule.observe(self.config, self.steps, self._states[newest], done, train, held_out)
        with self._changed:
            self._states[newest + 1] = state
            self._changed.notify_all()

    def close(self) -> None:
        """Ends every wait with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def newest(self) -> State:
        """The state after the last window that was observed."""
        return self._states[max(self._states)]

    def saved(self) -> dict[str, Any]:
        """The states of this and the coming windows, as JSON can hold them."""
        newest = max(self._states)
        return {str(window): self._states[window] for window in range(max(0, newest - 2), newest + 1)}

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes up what :meth:`saved` gave."""
        self._states = {int(window): state for window, state in saved.items()}

    def _state(self, window: int) -> State:
        with self._changed:
            self._changed.wait_for(lambda: window in self._states or self._closed)
            if self._closed and window not in self._states:
                raise RuntimeError("the run ended while examples were being made ahead")
            return self._states[window]
