"""The engine: one thread that keeps a batch of rows going, and a bounded queue before it. Plain class, no Ray.

Each turn of the thread lets waiting requests join the running rows, decodes one token for all of them, and hands out
what has ended. A request whose client left, or whose deadline passed, frees its row at the next turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING

from medclm.errors import MedclmError

if TYPE_CHECKING:
    from medclm.serve.batch import Running
    from medclm.serve.decoding import Listener, Row
    from medclm.serve.predictor import Prediction, Predictor, Prepared


class FullError(MedclmError):
    """The queue has no room."""


class LateError(MedclmError):
    """The deadline passed before the answer was there."""


@dataclass(eq=False)
class Ticket:
    """A request in the engine.

    Attributes:
        prepared: the request.
        listener: hears the text while it grows, in the engine's thread.
        deadline: by ``time.monotonic``; None for no end.
        answer: the prediction; :class:`LateError` after the deadline; cancelled where :meth:`cancel` came first.
        started: when the prompt ran, by ``time.monotonic``; 0 while it waits.
    """

    prepared: Prepared
    listener: Listener | None = None
    deadline: float | None = None
    answer: Future[Prediction] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    started: float = 0.0
    left: bool = False

    def cancel(self) -> None:
        """The client left: the row ends at the engine's next turn."""
        self.left = True

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def close(self, result: Prediction | BaseException | None) -> None:
        """Set the answer, once."""
        if self.answer.done():
            return
        if self.left or result is None:
            self.answer.cancel()
        elif isinstance(result, BaseException):
            self.answer.set_exception(result)
        elif self.expired:
            self.answer.set_exception(late())
        else:
            self.answer.set_result(result)


def late() -> LateError:
    """The error of a request whose deadline passed."""
    return LateError(
        "the answer was not ready in time", remedy="ask for fewer tokens, or try again when less is going on"
    )


@dataclass(frozen=True)
class Stats:
    """What the engine has done since it started, and what it holds now."""

    waiting: int
    running: int
    steps: int
    admitted: int
    ended: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    row_steps: int
    feature_hits: int
    feature_misses: int
    feature_bytes: int


class Engine:
    """Continuous batching over one predictor.

    Args:
        predictor: the model. Nobody else may run it while the engine lives.
        max_rows: rows that decode at once.
        max_waiting: requests that wait; :class:`FullError` beyond.
        max_joining: requests whose prompts run in one turn, so that running texts do not stand still for long.
        continuous: False batches whole requests by ``generate``; None lets the model's cache decide.
        on_end: hears of every ticket that ended, in the engine's thread, after its answer was set.
    """

    def __init__(
        self,
        predictor: Predictor,
        max_rows: int = 8,
        max_waiting: int = 128,
        max_joining: int = 8,
        continuous: bool | None = None,
        on_end: Callable[[Ticket], None] | None = None,
    ) -> None:
        from medclm.serve.batch import Running

        self.predictor, self.max_rows, self.max_waiting, self.max_joining = (
            predictor,
            max_rows,
            max_waiting,
            max_joining,
        )
        self.continuous = predictor.continuous if continuous is None else continuous
        self.on_end = on_end
        self.running: Running = Running(predictor)
        self._waiting: deque[Ticket] = deque()
        self._tickets: dict[int, Ticket] = {}
        self._rows: dict[int, Row] = {}
        self._changed = Condition()
        self._closed = False
        self._admitted = self._ended = self._failed = self._prompt = self._completion = self._row_steps = 0
        self._thread = Thread(target=self._run, name="medclm-engine", daemon=True)
        self._thread.start()

    def submit(self, prepared: Prepared, listener: Listener | None = None, deadline: float | None = None) -> Ticket:
        """Queue a request.

        Raises:
            FullError: ``max_waiting`` requests wait already. MedclmError: the engine is closed.
        """
        ticket = Ticket(prepared, listener, deadline)
        with self._changed:
            if self._closed:
                raise MedclmError("the engine is closed")
            if len(self._waiting) >= self.max_waiting:
                raise FullError("too many requests are waiting", got=len(self._waiting), remedy="try again later")
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def close(self) -> None:
        """Stop the thread; what still waits or runs is cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    def stats(self) -> Stats:
        """Counters and gauges, for metrics."""
        cache = self.predictor.features.cache
        return Stats(
            waiting=len(self._waiting),
            running=len(self._tickets),
            steps=self.running.steps,
            admitted=self._admitted,
            ended=self._ended,
            failed=self._failed,
            prompt_tokens=self._prompt,
            completion_tokens=self._completion,
            row_steps=self._row_steps,
            feature_hits=cache.hits,
            feature_misses=cache.misses,
            feature_bytes=cache.used,
        )

    def _run(self) -> None:
        while (joining := self._next()) is not None:
            if joining:
                self._admit(joining)
            self._sweep()
            if self.running.rows:
                with self.predictor.turn():
                    self._step()
            self._hand_out()
        for ticket in (*self._tickets.values(), *self._waiting):
            ticket.left = True
            self._close(ticket, None)

    def _next(self) -> list[Ticket] | None:
        """Requests that may join now; waits while there is nothing to do; None when closed."""
        with self._changed:
            while not (self._closed or self._waiting or self.running.rows):
                self._changed.wait()
            if self._closed:
                return None
            room = self.max_rows - len(self.running.rows)
            if not self.continuous:
                room = self.max_rows
            count = min(room, len(self._waiting), self.max_joining if self.continuous else room)
            return [self._waiting.popleft() for _ in range(count)]

    def _admit(self, tickets: Sequence[Ticket]) -> None:
        """Run the prompts. Where that fails, each is tried alone, so that one cannot spoil the others."""
        ready = [ticket for ticket in tickets if self._wanted(ticket)]
        if not ready:
            return
        rows = [self.predictor.row(ticket.prepared, ticket.listener) for ticket in ready]
        try:
            with self.predictor.turn():
                self._begin(ready, rows)
        except Exception as error:
            if len(ready) == 1:
                self._failed += 1
                self._close(ready[0], error)
                return
            for ticket in ready:
                self._admit([ticket])

    def _wanted(self, ticket: Ticket) -> bool:
        if ticket.left:
            self._close(ticket, None)
        elif ticket.expired:
            self._close(ticket, late())
        return not ticket.answer.done()

    def _begin(self, tickets: Sequence[Ticket], rows: list[Row]) -> None:
        from medclm.serve.batch import generate

        prepared = [ticket.prepared for ticket in tickets]
        if self.continuous:
            self.running.admit(prepared, rows)
        else:
            generate(self.predictor, prepared, rows)
        now = time.monotonic()
        for ticket, row in zip(tickets, rows, strict=True):
            ticket.started = now
            self._tickets[id(row)], self._rows[id(row)] = ticket, row
        self._admitted += len(rows)
        self._prompt += sum(len(one.ids) for one in prepared)

    def _sweep(self) -> None:
        """End the rows that nobody waits for any more."""
        for key, ticket in self._tickets.items():
            if ticket.left or ticket.expired:
                self._rows[key].finish = "stop"
        self.running.leave()

    def _step(self) -> None:
        self._row_steps += len(self.running.rows)
        try:
            self.running.step()
        except Exception as error:  # nothing is known about any row any more; the next requests start afresh
            for row in self.running.rows:
                self._failed += 1
                self._close(self._tickets.pop(id(row)), error)
                del self._rows[id(row)]
            self.running.clear()

    def _hand_out(self) -> None:
        for key in [key for key, row in self._rows.items() if row.finish is not None]:
            row, ticket = self._rows.pop(key), self._tickets.pop(key)
            self._completion += len(row.ids)
            try:
                result: Prediction | Exception = self.predictor.finish(ticket.prepared, row)
            except Exception as error:
                self._failed += 1
                result = error
            self._close(ticket, result)

    def _close(self, ticket: Ticket, result: Prediction | BaseException | None) -> None:
        self._ended += 1
        ticket.close(result)
        if self.on_end is not None:
            self.on_end(ticket)
