"""The HTTP API over any backend that answers requests: routes and nothing else. Ray is not needed to run or test it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, File, Form, Header, Query, UploadFile
from fastapi import Request as HttpRequest
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse

from medclm.serve import schema
from medclm.serve.backend import Backend, Call, Reply
from medclm.serve.card import card_html
from medclm.serve.guards import (
    INTERNAL,
    ApiError,
    Shield,
    check_key,
    error_body,
    install_errors,
    json_route,
    logger,
)
from medclm.serve.images import Shown, decode, from_uri
from medclm.serve.metrics import Metrics
from medclm.serve.once import Once
from medclm.serve.predictor import Mode, Request
from medclm.serve.trace import Trace

if TYPE_CHECKING:
    from medclm.config import ServeConfig

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Limits:
    """The model's name in the API and the bounds of a request."""

    name: str = "medclm"
    max_new_tokens: int = 256
    max_upload_bytes: int = 64 * 2**20
    max_image_pixels: int = 50_000_000
    max_images: int = 4
    timeout_s: float = 120.0
    patience_s: float = 20.0
    max_at_once: int = 1024
    allow_hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ServeConfig) -> Limits:
        """The limits that a configuration sets."""
        return cls(
            config.name,
            config.max_new_tokens,
            config.max_upload_bytes,
            config.max_image_pixels,
            config.max_images,
            config.request_timeout_s,
            max_at_once=-(-config.held // config.api_replicas),
            allow_hosts=frozenset(host.lower() for host in config.allow_hosts),
        )

    def decode(self, data: bytes, param: str, window: str = "auto", frame: int | None = None) -> Shown:
        """:func:`medclm.serve.images.decode` within these limits."""
        return decode(data, self.max_upload_bytes, self.max_image_pixels, window, frame, param)

    def decode_uri(self, uri: str) -> Shown:
        """The picture that an ``image_url`` stands for."""
        return self.decode(from_uri(uri, self.max_upload_bytes, self.allow_hosts), "messages")

    @property
    def max_body(self) -> int:
        """Bytes of a request: one picture of the largest size as base64, and the text."""
        return self.max_upload_bytes * 4 // 3 + 2**20


@dataclass(frozen=True)
class Served:
    """What the routes share."""

    backend: Backend
    limits: Limits
    metrics: Metrics = field(default_factory=Metrics)
    once: Once[Reply] = field(default_factory=Once)

    async def model(self, name: str, http: HttpRequest) -> schema.ModelOut:
        """The model of that name, noted for log and metrics.

        Raises:
            ApiError: 404, there is none.
        """
        models = await self.backend.models()
        if name not in models:
            known = ", ".join(map(repr, models))
            message = f"the model {name[:80]!r} does not exist; this server has {known}"
            raise ApiError(404, message, code="model_not_found", param="model")
        http.state.model = name
        return schema.ModelOut.of(name, models[name])

    async def predict(self, call: Call, http: HttpRequest) -> Reply:
        """The answer, computed once for each idempotency key."""
        reply = await self.once.run(_once_key(http), _content(call), lambda: self.backend.predict(call))
        self.note(reply, call, http)
        return reply

    def note(self, reply: Reply, call: Call, http: HttpRequest) -> None:
        """Count an answer."""
        self.metrics.answered(reply, call.model)
        http.state.prompt_tokens = reply.prediction.prompt_tokens
        http.state.completion_tokens = reply.prediction.completion_tokens


def _once_key(http: HttpRequest) -> str | None:
    """The idempotency key, with the API key that it belongs to."""
    key = http.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= 255:
        raise ApiError(400, "an idempotency key has 1 to 255 characters", code="invalid_value", param="idempotency-key")
    return f"{http.headers.get('authorization', '')} {key}"


def _content(call: Call) -> bytes:
    request = call.request
    pictures = b"".join(image.tobytes() for image in (*request.earlier, request.image))
    return repr((call.model, request.question, request.mode, request.settings)).encode() + pictures


def make_api(backend: Backend, limits: Limits, key_hashes: tuple[bytes, ...] = ()) -> FastAPI:
    """The whole API: ``/v1/chat/completions``, ``/v1/models``, ``/v1/predict``, health, metrics, and the page at ``/``.

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
    _chat_route(router, served)
    _predict_route(router, served)
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


def _chat_route(router: APIRouter, served: Served) -> None:
    @router.post("/chat/completions", response_model=None)
    async def chat(body: schema.ChatRequest, http: HttpRequest) -> JSONResponse | StreamingResponse:
        limits = served.limits
        model = await served.model(body.model, http)
        question, uris = question_and_images(body.messages, limits.max_images)
        shown = [await asyncio.to_thread(limits.decode_uri, uri) for uri in uris]
        request = Request(
            image=shown[-1].image,
            question=question,
            mode=body.mode,
            max_new_tokens=body.limit(limits.max_new_tokens),
            temperature=body.temperature or 0.0,
            seed=body.seed,
            stop=body.stops(),
            top_p=body.top_p or 1.0,
            earlier=tuple(one.image for one in shown[:-1]),
        )
        call, identity = Call(request, body.model, limits.timeout_s), schema.completion_id()
        if body.stream:
            events = _events(served, call, http, body, model, identity)
            return StreamingResponse(await _begun(events), media_type="text/event-stream")
        reply = await served.predict(call, http)
        return JSONResponse(schema.completion(identity, reply.prediction, body.mode, model, bool(body.logprobs)))


def _predict_route(router: APIRouter, served: Served) -> None:
    @router.post("/predict", response_model=schema.PredictResponse)
    async def predict(
        http: HttpRequest,
        file: Annotated[UploadFile, File(description="DICOM, PNG, JPEG, or a NIfTI volume with `slice`")],
        question: Annotated[str, Form(min_length=1, max_length=schema.MAX_QUESTION)],
        mode: Annotated[Mode, Form()] = "reason",
        model: Annotated[str | None, Form(description="one of /v1/models")] = None,
        max_tokens: Annotated[int | None, Form(ge=1)] = None,
        window: Annotated[str, Form()] = "auto",
        frame: Annotated[int | None, Form(ge=0, le=2**31)] = None,
        slice: Annotated[int | None, Form(ge=0, le=2**31, description="the same as frame, for volumes")] = None,
        include_image: Annotated[bool, Query()] = False,
        format: Annotated[Literal["json", "dicom-sr"], Query()] = "json",
    ) -> Any:
        limits = served.limits
        if not question.strip():
            raise ApiError(400, "the question is empty", code="invalid_value", param="question")
        about = await served.model(model or limits.name, http)
        data, frame = await file.read(), frame if slice is None else slice
        shown = await asyncio.to_thread(limits.decode, data, "file", window, frame)
        if format == "dicom-sr":
            _check_dicom(data)
        limit = min(max_tokens or limits.max_new_tokens, limits.max_new_tokens)
        call = Call(Request(shown.image, question.strip(), mode, limit), about.name, limits.timeout_s)
        prediction = (await served.predict(call, http)).prediction
        if format == "dicom-sr":
            return await asyncio.to_thread(_report, data, shown, prediction, question, about, frame)
        image = await asyncio.to_thread(shown.data_uri) if include_image else None
        height, width = shown.pixels.shape[:2]
        return schema.PredictResponse(
            **schema.answered(prediction, mode, about),
            text=prediction.text,
            image=schema.ImageOut(width=width, height=height, window=shown.window, data=image),
            usage=schema.usage(prediction),
        )


def _check_dicom(data: bytes) -> None:
    from medclm.data.dicom import is_dicom

    if not is_dicom(data):
        raise ApiError(400, "a DICOM report needs a DICOM image", code="invalid_image", param="file")


def _report(
    data: bytes, shown: Shown, prediction: Any, question: str, model: schema.ModelOut, frame: int | None
) -> Response:
    from medclm.serve.dicom_sr import dicom_sr

    report = dicom_sr(data, prediction, question, f"{model.name} {model.version}", frame)
    headers = {"content-disposition": 'attachment; filename="medclm-sr.dcm"'}
    return Response(report, media_type="application/dicom", headers=headers)


def question_and_images(messages: list[schema.Message], most: int) -> tuple[str, list[str]]:
    """The last user turn's text, and the addresses of the newest turn that has pictures.

    Raises:
        ApiError: 400, there is no question, no picture, or more than ``most`` of them.
    """
    turns = [message for message in messages if message.role == "user"]
    question = turns[-1].text() if turns else ""
    if not question:
        raise ApiError(400, "the last user message has no text", code="invalid_value", param="messages")
    if len(question) > schema.MAX_QUESTION:
        message = f"the question is longer than {schema.MAX_QUESTION} characters"
        raise ApiError(400, message, code="invalid_value", param="messages")
    pictures = next((found for turn in reversed(turns) if (found := turn.images())), [])
    if not 1 <= len(pictures) <= most:
        message = f"a question needs 1 to {most} pictures, got {len(pictures)}"
        raise ApiError(400, message, code="invalid_value", param="messages")
    return question, pictures


async def _begun(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The same events. The first one is waited for, so that what is refused at once gets a status of its own."""
    first = await anext(events)

    async def all_of_them() -> AsyncIterator[str]:
        yield first
        async for event in events:
            yield event

    return all_of_them()


async def _events(
    served: Served,
    call: Call,
    http: HttpRequest,
    body: schema.ChatRequest,
    model: schema.ModelOut,
    identity: str,
) -> AsyncIterator[str]:
    """Server-sent events of a streamed completion. The last chunk carries the structured fields under ``medclm``."""

    def event(value: dict[str, Any]) -> str:
        return f"data: {json.dumps(value)}\n\n"

    pieces, begun = served.backend.stream(call), False
    try:
        async for piece in pieces:
            if not begun:
                begun = True
                yield event(schema.chunk(identity, model.name, {"role": "assistant", "content": ""}))
            if isinstance(piece, str):
                yield event(schema.chunk(identity, model.name, {"content": piece}))
                continue
            prediction = piece.prediction
            served.note(piece, call, http)
            fields = schema.Answered(**schema.answered(prediction, body.mode, model)).model_dump()
            chosen = schema.log_probs(prediction) if body.logprobs else None
            yield event(schema.chunk(identity, model.name, {}, prediction.finish, chosen, medclm=fields))
            if body.stream_options is not None and body.stream_options.include_usage:
                counts = schema.usage(prediction).model_dump()
                yield event({**schema.chunk(identity, model.name, {}), "choices": [], "usage": counts})
    except ApiError as error:
        if not begun:
            raise
        yield event(error_body(error.status, error.message, error.code))
    except Exception as error:  # the status line is gone: the client is told in the stream, the log has the rest
        if not begun:
            raise
        logger.error("a stream failed: %s", type(error).__name__, exc_info=error)
        yield event(error_body(500, INTERNAL, "internal_error"))
    yield "data: [DONE]\n\n"
