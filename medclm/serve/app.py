"""The Ray Serve application: an ingress with the HTTP API, and model replicas that scale with their requests.

``Api`` decodes and prepares pictures and speaks HTTP, on CPUs; ``Model`` replicas (:mod:`medclm.serve.replica`) decode.
Both are made by :func:`build_app`, which ``serve run medclm.serve.app:build_app model=DIR`` and a Serve YAML take too.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve import Application

from medclm.config import ServeConfig
from medclm.errors import MedclmError, UsageError
from medclm.serve.predictor import check_model_dir

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve.handle import DeploymentHandle

_FAST = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
}
"""Serve's settings for a local Ray: our code never blocks its event loop, so it needs no thread of its own."""
_session = contextlib.ExitStack()
atexit.register(_session.close)


@serve.ingress()
class Api:
    """The ingress: :func:`medclm.serve.api.make_api` over the model replicas."""

    def __init__(self, model: DeploymentHandle, config: ServeConfig, key_hashes: tuple[bytes, ...]) -> None:
        self.model, self.config, self.key_hashes = model, config, key_hashes

    def __serve_build_asgi_app__(self) -> FastAPI:
        from medclm.serve.api import Limits, make_api
        from medclm.serve.replicas import Replicas, about

        backend: Any = Replicas(self.model, self.config)
        if self.config.engine == "vllm":
            from medclm.serve.vllm import Vllm

            backend = Vllm(self.model, self.config, {self.config.name: about(self.config.model)})
        return make_api(backend, Limits.of(self.config), self.key_hashes)


def build_app(args: ServeConfig | dict[str, Any]) -> Application:
    """The Serve application of one exported model and its adapters. API keys are read here, once: from ``keys_file``
    and ``MEDCLM_API_KEYS``.

    Args:
        args: the settings; a dict of them where `serve deploy` calls, which cannot read a postponed annotation.

    Raises:
        ValidationError: a setting is unknown or wrong.
    """
    from medclm.serve.keys import all_keys
    from medclm.serve.replica import multiplexed

    args = ServeConfig.model_validate(args)
    scaling = {
        "min_replicas": args.min_replicas,
        "initial_replicas": max(args.min_replicas, 1),
        "max_replicas": max(args.max_replicas, args.min_replicas),
        "target_ongoing_requests": args.target_ongoing_requests,
        "upscale_delay_s": args.upscale_delay_s,
        "downscale_delay_s": args.downscale_delay_s,
    }
    model = serve.deployment(
        name="Model",
        autoscaling_config=scaling,
        max_ongoing_requests=args.max_ongoing_requests,
        max_queued_requests=args.max_queued_requests,
        graceful_shutdown_timeout_s=args.drain_s,
        logging_config={"enable_access_log": False},
        ray_actor_options={"num_cpus": args.num_cpus, "num_gpus": args.num_gpus},
    )(multiplexed(args.max_adapters))
    front = serve.deployment(
        num_replicas=args.api_replicas,
        max_ongoing_requests=2 * args.held,
        logging_config={"enable_access_log": False},  # medclm.serve.trace writes one, without file names
        graceful_shutdown_timeout_s=args.drain_s,
        ray_actor_options={"num_cpus": args.api_cpus},
    )(Api)
    if args.engine == "vllm":
        from medclm.serve.vllm import check_vllm, vllm_deployment

        check_vllm(args)
        return front.bind(vllm_deployment(args), args, all_keys(args.keys_file))
    return front.bind(model.bind(args), args, all_keys(args.keys_file))


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

    for folder in (config.model, *config.adapters.values()):
        check_model_dir(folder)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # the caller says where it listens
    places = {name: str(Path(folder).resolve()) for name, folder in config.adapters.items()}
    config = config.model_copy(update={"model": str(Path(config.model).resolve()), "adapters": places})
    if not ray.is_initialized():
        from medclm.session import ray_session

        for name, value in _FAST.items():
            os.environ.setdefault(name, value)
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
