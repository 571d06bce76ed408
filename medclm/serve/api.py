"""The HTTP API over any backend that answers requests: routes and nothing else. Ray is not needed to run or test it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends, FastAPI, File, Form, Header, Query, UploadFile
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from medclm.serve import schema
from medclm.serve.guards import INTERNAL, ApiError, Shield, check_key, error_body, install_errors, logger
from medclm.serve.images import Shown, decode, from_data_uri
from medclm.serve.predictor import Mode, Prediction, Request

if TYPE_CHECKING:
    from medclm.config import ServeConfig

PAGE = Path(__file__).parent / "page"


class Backend(Protocol):
    """What answers: :class:`medclm.serve.app.Replicas`, or anything else with these three."""

    async def predict(self, request: Request) -> Prediction:
        """One answer. Raises ApiError 429 when too many wait."""
        ...

    def stream(self, request: Request) -> AsyncIterator[str | Prediction]:
        """The text piece by piece, forced prefix first, and last the whole prediction."""
        ...

    async def info(self) -> dict[str, Any]:
        """``Predictor.info``."""
        ...


@dataclass(frozen=True)
class Limits:
    """The model's name in the API and the bounds of a request."""

    name: str = "medclm"
    max_new_tokens: int = 256
    max_upload_bytes: int = 64 * 2**20
    max_image_pixels: int = 50_000_000

    @classmethod
    def of(cls, config: ServeConfig) -> Limits:
        """The limits that a configuration sets."""
        return cls(config.name, config.max_new_tokens, config.max_upload_bytes, config.max_image_pixels)

    def decode(self, data: bytes, param: str, window: str = "auto", frame: int | None = None) -> Shown:
        """:func:`medclm.serve.images.decode` within these limits."""
        return decode(data, self.max_upload_bytes, self.max_image_pixels, window, frame, param)


def make_api(backend: Backend, limits: Limits, key_hashes: tuple[bytes, ...] = ()) -> FastAPI:
    """The whole API: ``/v1/chat/completions``, ``/v1/models``, ``/v1/predict``, ``/healthz``, and the page at ``/``.

    Args:
        backend: answers the questions.
        limits: the model's name and the bounds of a request.
        key_hashes: SHA-256 of the accepted API keys; empty asks for none. The page and ``/healthz`` need no key.
    """

    async def key(authorization: Annotated[str | None, Header()] = None) -> None:
        check_key(authorization, key_hashes)

    app = FastAPI(title="medclm", description=schema.DISCLAIMER, docs_url=None, redoc_url=None)
    app.add_middleware(Shield, max_body=limits.max_upload_bytes * 4 // 3 + 2**20)
    install_errors(app)
    _page_routes(app, limits)
    _chat_route(app, backend, limits, Depends(key))
    _predict_route(app, backend, limits, Depends(key))

    @app.get("/v1/models", dependencies=[Depends(key)])
    async def models() -> dict[str, Any]:
        info = await backend.info()
        about = {k: info[k] for k in ("family", "base", "trained_on", "steps", "versions") if k in info}
        model = {"id": limits.name, "object": "model", "created": 0, "owned_by": "medclm", "version": _version(info)}
        return {"object": "list", "data": [{**model, "medclm": about}]}

    return app


def _page_routes(app: FastAPI, limits: Limits) -> None:
    from fastapi.staticfiles import StaticFiles

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "model": limits.name}

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _chat_route(app: FastAPI, backend: Backend, limits: Limits, key: Any) -> None:
    @app.post("/v1/chat/completions", dependencies=[key], response_model=None)
    async def chat(body: schema.ChatRequest) -> JSONResponse | StreamingResponse:
        if body.model != limits.name:
            message = f"the model {body.model!r} does not exist; this server has {limits.name!r}"
            raise ApiError(404, message, code="model_not_found", param="model")
        question, uri = question_and_image(body.messages)
        shown = await asyncio.to_thread(_from_uri, uri, limits)
        request = Request(
            image=shown.image,
            question=question,
            mode=body.mode,
            max_new_tokens=body.limit(limits.max_new_tokens),
            temperature=body.temperature or 0.0,
            seed=body.seed,
            stop=body.stops(),
        )
        model, identity = await _model(backend, limits), schema.completion_id()
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            events = _events(backend, request, model, identity, with_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        prediction = await backend.predict(request)
        return JSONResponse(schema.completion(identity, prediction, body.mode, model))


def _predict_route(app: FastAPI, backend: Backend, limits: Limits, key: Any) -> None:
    @app.post("/v1/predict", dependencies=[key])
    async def predict(
        file: Annotated[UploadFile, File(description="DICOM, PNG or JPEG")],
        question: Annotated[str, Form(min_length=1, max_length=schema.MAX_QUESTION)],
        mode: Annotated[Mode, Form()] = "reason",
        max_tokens: Annotated[int | None, Form(ge=1)] = None,
        window: Annotated[str, Form()] = "auto",
        frame: Annotated[int | None, Form(ge=0)] = None,
        include_image: Annotated[bool, Query()] = False,
    ) -> schema.PredictResponse:
        if not question.strip():
            raise ApiError(400, "the question is empty", code="invalid_value", param="question")
        shown = await asyncio.to_thread(limits.decode, await file.read(), "file", window, frame)
        limit = min(max_tokens or limits.max_new_tokens, limits.max_new_tokens)
        prediction = await backend.predict(Request(shown.image, question.strip(), mode, limit))
        data = await asyncio.to_thread(shown.data_uri) if include_image else None
        height, width = shown.pixels.shape[:2]
        return schema.PredictResponse(
            **schema.answered(prediction, mode, await _model(backend, limits)),
            text=prediction.text,
            image=schema.ImageOut(width=width, height=height, window=shown.window, data=data),
            usage=schema.usage(prediction),
        )


def question_and_image(messages: list[schema.Message]) -> tuple[str, str]:
    """The last user turn's text, and the address of the newest picture in the conversation.

    Raises:
        ApiError: 400, there is no question or no picture, or several pictures come in one turn.
    """
    turns = [message for message in messages if message.role == "user"]
    question = turns[-1].text() if turns else ""
    if not question:
        raise ApiError(400, "the last user message has no text", code="invalid_value", param="messages")
    if len(question) > schema.MAX_QUESTION:
        message = f"the question is longer than {schema.MAX_QUESTION} characters"
        raise ApiError(400, message, code="invalid_value", param="messages")
    pictures = next((found for turn in reversed(turns) if (found := turn.images())), [])
    if len(pictures) != 1:
        message = f"a question needs exactly one image_url, got {len(pictures)}"
        raise ApiError(400, message, code="invalid_value", param="messages")
    return question, pictures[0]


def _from_uri(uri: str, limits: Limits) -> Shown:
    return limits.decode(from_data_uri(uri, limits.max_upload_bytes), "messages")


async def _model(backend: Backend, limits: Limits) -> schema.ModelOut:
    return schema.ModelOut(name=limits.name, version=_version(await backend.info()))


def _version(info: dict[str, Any]) -> str:
    return str(info.get("fingerprint") or "unknown")


async def _events(
    backend: Backend, request: Request, model: schema.ModelOut, identity: str, with_usage: bool
) -> AsyncIterator[str]:
    """Server-sent events of a streamed completion. The last chunk carries the structured fields under ``medclm``."""

    def event(value: dict[str, Any]) -> str:
        return f"data: {json.dumps(value)}\n\n"

    try:
        yield event(schema.chunk(identity, model.name, {"role": "assistant", "content": ""}))
        async for piece in backend.stream(request):
            if isinstance(piece, str):
                yield event(schema.chunk(identity, model.name, {"content": piece}))
                continue
            fields = schema.Answered(**schema.answered(piece, request.mode, model)).model_dump()
            yield event(schema.chunk(identity, model.name, {}, piece.finish, medclm=fields))
            if with_usage:
                counts = schema.usage(piece).model_dump()
                yield event({**schema.chunk(identity, model.name, {}), "choices": [], "usage": counts})
    except ApiError as error:
        yield event(error_body(error.status, error.message, error.code))
    except Exception as error:  # the status line is gone: the client is told in the stream, the log has the rest
        logger.error("a stream failed: %s", type(error).__name__, exc_info=error)
        yield event(error_body(500, INTERNAL, "internal_error"))
    yield "data: [DONE]\n\n"
