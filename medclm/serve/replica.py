"""A model replica of the Serve application: the weights, and an engine for each adapter that is in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ray import serve

from medclm.config import ServeConfig
from medclm.serve.backend import Reply
from medclm.serve.engine import Engine, FullError, LateError, Ticket
from medclm.serve.predictor import Predictor, Prepared


@dataclass(frozen=True)
class Refusal:
    """Why a request was not answered, as plain data: exceptions with arguments do not travel well between processes."""

    status: int
    message: str
    code: str


class Lane:
    """One adapter: its predictor and engine. Serve calls ``__del__`` when the adapter has to make room."""

    def __init__(self, predictor: Predictor, engine: Engine, unload: Any) -> None:
        self.predictor, self.engine, self._unload = predictor, engine, unload

    def __del__(self) -> None:
        self.engine.close()
        self._unload()


class Model:
    """A replica. It counts as ready when it has answered a first request of its own."""

    def __init__(self, config: ServeConfig) -> None:
        from medclm.serve.adapters import Shared

        self.config = config
        device = "auto" if config.num_gpus else "cpu"
        self.shared = Shared(config.model, config.name, config.adapters, device, config.threads)
        self.id = serve.get_replica_context().replica_id.unique_id
        self._lane = self._open(config.name)
        self._warm_up(self._lane)

    def check_health(self) -> None:
        """Serve replaces a replica whose engine died."""
        if not self._lane.engine.alive:
            raise RuntimeError("the engine's thread has ended")

    async def alive(self) -> bool:
        """For readiness."""
        return self._lane.engine.alive

    async def predict(self, prepared: Prepared, model: str, timeout_s: float) -> Reply | Refusal:
        """One answer."""
        lane = self._lane if model == self.config.name else await self.lane(model)
        try:
            ticket = lane.engine.submit(prepared, deadline=time.monotonic() + timeout_s)
        except FullError:
            return _busy()
        return await self._outcome(lane, ticket)

    async def stream(self, prepared: Prepared, model: str, timeout_s: float) -> AsyncIterator[str | Reply | Refusal]:
        """The text piece by piece, forced prefix first, and last the reply or the refusal."""
        from medclm.train.collate import FORCED

        lane = self._lane if model == self.config.name else await self.lane(model)
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def listener(text: str) -> bool:
            if text:
                loop.call_soon_threadsafe(pieces.put_nowait, text)
            return True

        try:
            ticket = lane.engine.submit(prepared, listener, time.monotonic() + timeout_s)
        except FullError:
            yield _busy()
            return
        ticket.answer.add_done_callback(lambda _: loop.call_soon_threadsafe(pieces.put_nowait, None))
        try:
            yield FORCED[prepared.mode]
            while (piece := await pieces.get()) is not None:
                yield piece
            yield await self._outcome(lane, ticket)
        finally:
            ticket.cancel()

    async def _outcome(self, lane: Lane, ticket: Ticket) -> Reply | Refusal:
        try:
            prediction = await asyncio.wrap_future(ticket.answer)
        except LateError as error:
            return Refusal(504, f"{error.what}: ask for fewer tokens, or try again", "deadline_exceeded")
        finally:
            ticket.cancel()
        return Reply(prediction, self.id, lane.engine.stats())

    async def lane(self, model: str) -> Lane:
        """The lane of an adapter. :func:`multiplexed` puts Serve's bounded cache of models before it."""
        return await asyncio.get_running_loop().run_in_executor(None, self._open, model)

    def _open(self, name: str) -> Lane:
        predictor, limits = self.shared.open(name), self.config
        engine = Engine(predictor, limits.max_batch_size, limits.max_ongoing_requests, limits.max_joining)
        return Lane(predictor, engine, lambda: self.shared.close(name))

    def _warm_up(self, lane: Lane) -> None:
        import PIL.Image

        from medclm.serve.predictor import Request

        blank = lane.predictor.preparer.prepare(Request(PIL.Image.new("L", (64, 64)), "ready?", max_new_tokens=2))
        lane.engine.submit(blank).answer.result()


def multiplexed(most: int) -> type[Model]:
    """The replica's class, holding at most ``most`` adapters at once."""
    return type("Model", (Model,), {"lane": serve.multiplexed(max_num_models_per_replica=most)(Model.lane)})


def _busy() -> Refusal:
    return Refusal(429, "too many requests are waiting; try again", "queue_full")
