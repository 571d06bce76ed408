"""The backend of the API that calls model replicas: prepares requests, asks again when a replica dies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from medclm.config import ServeConfig
from medclm.data.records import Step
from medclm.serve.backend import Call, Reply
from medclm.serve.guards import ApiError, logger
from medclm.serve.predictor import Prepared, Preparer
from medclm.serve.replica import Refusal
from medclm.train.target import StepReader

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

DIED = (RayActorError, DeploymentUnavailableError)
"""What a call raises when its replica died under it."""
ATTEMPTS = 5


class Replicas:
    """Calls to the ``Model`` deployment.

    Args:
        model: its handle.
        config: names, directories, deadline.
    """

    def __init__(self, model: DeploymentHandle, config: ServeConfig) -> None:
        self.model, self.config = model, config
        self.preparer = Preparer.load(config.model)
        self.pool = ThreadPoolExecutor(2, "medclm-prepare")
        self._models = {name: about(folder) for name, folder in {config.name: config.model, **config.adapters}.items()}

    async def predict(self, call: Call) -> Reply:
        """One answer. A call whose replica died is made again: nothing of it has reached the client."""
        end = time.monotonic() + call.timeout_s
        prepared = await self._prepare(call)
        for attempt in range(1, ATTEMPTS + 1):
            response: Any = None
            try:
                response = self._handle(call).predict.remote(prepared, call.model, max(end - time.monotonic(), 0.0))
                return _reply(await response)
            except BackPressureError as error:
                raise _busy() from error
            except DIED as error:
                await self._again(error, attempt, end)
            finally:
                if response is not None:
                    response.cancel()
        raise AssertionError("the last attempt raises")

    async def stream(self, call: Call) -> AsyncIterator[str | Step | Reply]:
        """The text piece by piece, each finished step, and the reply. Where a replica dies, another one says the same
        text again, and what the client has is left out; a draw without a seed cannot be said again."""
        end, sent = time.monotonic() + call.timeout_s, 0
        reader = StepReader(call.request.size_hw, self.preparer.encoder.family)
        prepared = await self._prepare(call)
        for attempt in range(1, ATTEMPTS + 1):
            handle: Any = self._handle(call).options(stream=True)
            pieces, skip = None, sent
            try:
                pieces = handle.stream.remote(prepared, call.model, max(end - time.monotonic(), 0.0))
                async for piece in pieces:
                    if not isinstance(piece, str):
                        yield _reply(piece)
                        return
                    new, skip = piece[skip:], max(skip - len(piece), 0)
                    sent += len(new)
                    if new:
                        yield new
                    for step in reader.add(new):
                        yield step
            except BackPressureError as error:
                raise _busy() from error
            except DIED as error:
                if sent and call.request.temperature > 0 and call.request.seed is None:
                    raise _unavailable() from error
                await self._again(error, attempt, end)
            finally:
                if pieces is not None:
                    pieces.cancel()

    async def models(self) -> dict[str, dict[str, Any]]:
        """What is served, by name."""
        return self._models

    async def ready(self) -> bool:
        """Whether a replica answers within two seconds; with ``min_replicas`` 0 an idle server is ready too."""
        if self.config.min_replicas == 0:
            return True
        with contextlib.suppress(TimeoutError, *DIED, BackPressureError):
            return bool(await asyncio.wait_for(self.model.alive.remote(), 2))
        return False

    def _handle(self, call: Call) -> Any:
        return self.model if call.model == self.config.name else self.model.options(multiplexed_model_id=call.model)

    async def _prepare(self, call: Call) -> Prepared:
        return await asyncio.get_running_loop().run_in_executor(self.pool, self.preparer.prepare, call.request)

    async def _again(self, error: Exception, attempt: int, end: float) -> None:
        """Wait a moment before the next attempt.

        Raises:
            ApiError: 503, there is no next attempt.
        """
        logger.warning("a replica died under a request (%s), attempt %d", type(error).__name__, attempt)
        if attempt == ATTEMPTS or time.monotonic() > end or isinstance(error, RayTaskError):
            raise _unavailable() from error
        await asyncio.sleep(0.2 * attempt)


def _reply(outcome: Reply | Refusal) -> Reply:
    if isinstance(outcome, Refusal):
        raise ApiError(outcome.status, outcome.message, outcome.code)
    return outcome


def about(folder: str) -> dict[str, Any]:
    """``medclm.json`` of an export, whether it is an adapter, and versions."""
    import json
    from pathlib import Path

    from medclm import __version__

    info = json.loads((Path(folder) / "medclm.json").read_text())
    is_adapter = (Path(folder) / "adapter_config.json").is_file()
    return {**info, "is_adapter": is_adapter, "versions": {"medclm": __version__}}


def _busy() -> ApiError:
    return ApiError(429, "too many requests are waiting; try again", code="queue_full")


def _unavailable() -> ApiError:
    return ApiError(503, "the model's replica went away; try again", code="unavailable")
