"""The HTTP API over any backend that answers requests: routes and nothing else. Ray is not needed to run or test it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header
from fastapi import Request as HttpRequest
from fastapi.responses import FileResponse, HTMLResponse, Response

from medclm.serve import schema
from medclm.serve.backend import Backend
from medclm.serve.card import card_html
from medclm.serve.chat import chat_route
from medclm.serve.guards import ApiError, Shield, check_key, install_errors, json_route
from medclm.serve.render import render_route
from medclm.serve.served import Limits, Served
from medclm.serve.trace import Trace
from medclm.serve.upload import predict_route

__all__ = ["Limits", "make_api"]
PAGE = Path(__file__).parent / "page"


def make_api(backend: Backend, limits: Limits, key_hashes: tuple[bytes, ...] = ()) -> FastAPI:
    """The whole API: chat completions, predict, render and models under ``/v1``, health, metrics, the page at ``/``.

    Args:
        backend: answers the questions.
        limits: the model's name and the bounds of a request.
        key_hashes: SHA-256 of the accepted API keys; empty asks for none. The page, the card, health and ``/metrics``
            need no key: keep ``/metrics`` from the world by your proxy.
    """

    async def key(authorization: Annotated[str | None, Header()] = None) -> None:
        check_key(authorization, key_hashes)

    served = Served(backend, limits)
    app = FastAPI(title="medclm", description=schema.DISCLAIMER, docs_url=None, redoc_url=None)
    install_errors(app)
    bounds = {"max_body": limits.max_body, "patience_s": limits.patience_s, "max_at_once": limits.max_at_once}
    app.add_middleware(Shield, **bounds)  # type: ignore[arg-type]
    app.add_middleware(Trace, metrics=served.metrics)  # the outermost: it counts what the shield refuses
    _page_routes(app, served)
    _health_routes(app, served)
    router = APIRouter(prefix="/v1", route_class=json_route(), dependencies=[Depends(key)], responses=schema.REFUSALS)
    chat_route(router, served)
    predict_route(router, served)
    render_route(router, served)
    _model_routes(router, served)
    app.include_router(router)
    return app


def _page_routes(app: FastAPI, served: Served) -> None:
    from fastapi.staticfiles import StaticFiles

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/card", include_in_schema=False)
    async def card() -> HTMLResponse:
        limits = served.limits
        bounds = {"new_tokens": limits.max_new_tokens, "image_bytes": limits.max_upload_bytes}
        bounds |= {"image_pixels": limits.max_image_pixels, "images": limits.max_images}
        return HTMLResponse(card_html(await served.backend.models(), bounds))

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _health_routes(app: FastAPI, served: Served) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The ingress is up."""
        return {"status": "ok", "model": served.limits.name}

    @app.get("/readyz", responses={503: {"model": schema.ErrorBody}})
    async def readyz() -> dict[str, str]:
        """A model replica would answer."""
        if not await served.backend.ready():
            raise ApiError(503, "no model replica is ready", code="not_ready")
        return {"status": "ready", "model": served.limits.name}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(served.metrics.text(), media_type="text/plain; version=0.0.4")


def _model_routes(router: APIRouter, served: Served) -> None:
    def entry(name: str, info: dict[str, Any]) -> dict[str, Any]:
        about = {k: info[k] for k in ("family", "base", "trained_on", "steps", "versions") if k in info}
        version = schema.ModelOut.of(name, info).version
        return {
            "id": name, "object": "model", "created": 0, "owned_by": "medclm", "version": version, "medclm": about
        }  # fmt: skip

    @router.get("/models")
    async def models() -> dict[str, Any]:
        found = await served.backend.models()
        return {"object": "list", "data": [entry(name, info) for name, info in found.items()]}

    @router.get("/models/{name}")
    async def model(name: str, http: HttpRequest) -> dict[str, Any]:
        await served.model(name, http)
        return entry(name, (await served.backend.models())[name])
