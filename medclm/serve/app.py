"""The Ray Serve application: an ingress with the HTTP API, and model replicas that scale with their requests.

``Api`` decodes pictures and speaks HTTP; ``Model`` replicas batch what reaches them while they are busy. Both are made
by :func:`build_app`, which ``serve run medclm.serve.app:build_app model=DIR`` and a Serve YAML take as well.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve import Application
from ray.serve.exceptions import BackPressureError

from medclm.config import ServeConfig
from medclm.errors import MedclmError, UsageError
from medclm.serve.guards import ApiError, keys_from_environment
from medclm.serve.predictor import Listener, Prediction, Request, check_model_dir

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve.handle import DeploymentHandle

_session = contextlib.ExitStack()
atexit.register(_session.close)


@dataclass(frozen=True)
class Job:
    """One request in a batch, who listens to its text, and whether its client has left."""

    request: Request
    listener: Listener | None = None
    left: Event = field(default_factory=Event)

    def heard(self, text: str) -> bool:
        """Pass the new text on; False when the client has left."""
        if self.listener is not None:
            self.listener(text)
        return not self.left.is_set()


class Model:
    """A replica: one predictor in one thread; what arrives while it works becomes the next batch."""

    def __init__(self, config: ServeConfig) -> None:
        from concurrent.futures import ThreadPoolExecutor

        import PIL.Image

        from medclm.serve.predictor import Predictor

        self.predictor = Predictor(config.model, device="auto" if config.num_gpus else "cpu", threads=config.threads)
        self.predictor.predict([Request(PIL.Image.new("L", (64, 64)), "ready?", max_new_tokens=2)])
        self.thread = ThreadPoolExecutor(1)
        batching: Any = self._answer
        batching.set_max_batch_size(config.max_batch_size)
        batching.set_batch_wait_timeout_s(config.batch_wait_s)

    def info(self) -> dict[str, Any]:
        """``Predictor.info``."""
        return self.predictor.info

    async def predict(self, request: Request) -> Prediction:
        """One answer."""
        job = Job(request)
        try:
            return _result(await self._answer(job))
        finally:
            job.left.set()

    async def stream(self, request: Request) -> AsyncIterator[str | Prediction]:
        """The text piece by piece, forced prefix first, and last the whole prediction."""
        from medclm.train.collate import FORCED

        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def listener(text: str) -> bool:
            loop.call_soon_threadsafe(pieces.put_nowait, text)
            return True

        job = Job(request, listener)
        answer = asyncio.ensure_future(self._answer(job))
        answer.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            yield FORCED[request.mode]
            while (piece := await pieces.get()) is not None:
                if piece:
                    yield piece
            yield _result(await answer)
        finally:
            job.left.set()
            answer.cancel()

    @serve.batch
    async def _answer(self, jobs: list[Job]) -> list[Prediction | Exception]:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._predict, jobs)

    def _predict(self, jobs: list[Job]) -> list[Prediction | Exception]:
        """The batch's answers. When a batch fails, each request is tried alone, so that one cannot spoil the others."""
        listeners = [job.heard for job in jobs]
        try:
            return list(self.predictor.predict([job.request for job in jobs], listeners))
        except Exception as error:
            if len(jobs) == 1:
                return [error]
        return [self._predict([Job(job.request, None, job.left)])[0] for job in jobs]


def _result(outcome: Prediction | Exception) -> Prediction:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class Replicas:
    """The backend of :mod:`medclm.serve.api`: calls to the ``Model`` deployment."""

    def __init__(self, model: DeploymentHandle) -> None:
        self.model = model
        self._info: dict[str, Any] = {}

    async def predict(self, request: Request) -> Prediction:
        try:
            return await self.model.predict.remote(request)
        except BackPressureError as error:
            raise _busy() from error

    async def stream(self, request: Request) -> AsyncIterator[str | Prediction]:
        try:
            pieces: Any = self.model.options(stream=True).stream.remote(request)
            async for piece in pieces:
                yield piece
        except BackPressureError as error:
            raise _busy() from error

    async def info(self) -> dict[str, Any]:
        if not self._info:
            self._info = await self.model.info.remote()
        return self._info


def _busy() -> ApiError:
    return ApiError(429, "too many requests are waiting; try again", code="queue_full")


@serve.ingress()
class Api:
    """The ingress: :func:`medclm.serve.api.make_api` over the model replicas."""

    def __init__(self, model: DeploymentHandle, config: ServeConfig, key_hashes: tuple[bytes, ...]) -> None:
        self.model, self.config, self.key_hashes = model, config, key_hashes

    def __serve_build_asgi_app__(self) -> FastAPI:
        from medclm.serve.api import Limits, make_api

        return make_api(Replicas(self.model), Limits.of(self.config), self.key_hashes)


def build_app(args: ServeConfig) -> Application:
    """The Serve application of one exported model. API keys are read from ``MEDCLM_API_KEYS`` here, once."""
    scaling = {
        "min_replicas": args.min_replicas,
        "initial_replicas": max(args.min_replicas, 1),
        "max_replicas": max(args.max_replicas, args.min_replicas),
        "target_ongoing_requests": args.target_ongoing_requests,
        "upscale_delay_s": args.upscale_delay_s,
        "downscale_delay_s": args.downscale_delay_s,
    }
    model = serve.deployment(
        autoscaling_config=scaling,
        max_ongoing_requests=args.max_ongoing_requests,
        max_queued_requests=args.max_queued_requests,
        ray_actor_options={"num_cpus": args.num_cpus, "num_gpus": args.num_gpus},
    )(Model)
    waiting = args.max_queued_requests + args.max_replicas * args.max_ongoing_requests
    front = serve.deployment(max_ongoing_requests=2 * waiting, ray_actor_options={"num_cpus": 0})(Api)
    return front.bind(model.bind(args), args, keys_from_environment())


def run_app(config: ServeConfig) -> str:
    """Start the application on the connected Ray, or on the one that :mod:`medclm.session` finds or starts.

    Args:
        config: the application; ``model`` may be relative to the working directory.

    Returns:
        The address, e.g. ``http://127.0.0.1:8000``. Where Serve already runs, its own host and port hold.

    Raises:
        UsageError: the model directory is no exported model, or the port is taken. MedclmError: it did not start.
    """
    import ray

    check_model_dir(config.model)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # the caller says where it listens
    config = config.model_copy(update={"model": str(Path(config.model).resolve())})
    if not ray.is_initialized():
        from medclm.session import ray_session

        _session.enter_context(ray_session())
    address = _start_serve(config)
    try:
        serve.run(build_app(config), name=config.name, route_prefix="/")
    except RuntimeError as error:
        serve.delete(config.name)
        raise MedclmError("the server did not start", where=config.model, got=str(error).strip()) from error
    return address


def stop_app(name: str) -> None:
    """Stop one application; others, Serve and Ray stay up."""
    serve.delete(name)


def _start_serve(config: ServeConfig) -> str:
    """Serve's HTTP proxy, started if there is none; its address."""
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    with contextlib.suppress(RayServeException):
        return _address(_get_global_client())
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            where = f"{config.host}:{config.port}"
            remedy = "stop what listens there, or give another --port"
            raise UsageError(
                "the address cannot be listened on", where=where, got=error.strerror, remedy=remedy
            ) from error
    serve.start(http_options={"host": config.host, "port": config.port})
    return _address(_get_global_client())


def _address(client: Any) -> str:
    http = client.http_config
    host = "127.0.0.1" if http.host in ("0.0.0.0", "::", None) else http.host
    return f"http://{host}:{http.port}"


def wait_app(name: str) -> None:
    """Until Ctrl-C, then stop the application."""
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        stop_app(name)
