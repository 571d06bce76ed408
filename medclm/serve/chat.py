"""``POST /v1/chat/completions``: OpenAI's chat completions, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, StreamingResponse

from medclm.data.records import Step
from medclm.serve import schema
from medclm.serve.backend import Call, Reply
from medclm.serve.guards import INTERNAL, ApiError, error_body, logger
from medclm.serve.requests import Request
from medclm.serve.served import Served


def chat_route(router: APIRouter, served: Served) -> None:
    """Adds the route."""

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
    """Server-sent events of a streamed completion."""

    def event(value: dict[str, Any]) -> str:
        return f"data: {json.dumps(value)}\n\n"

    pieces, begun = served.backend.stream(call), False
    try:
        async for piece in pieces:
            if not begun:
                begun = True
                yield event(schema.chunk(identity, model.name, {"role": "assistant", "content": ""}))
            if isinstance(piece, Reply):
                served.note(piece, call, http)
            for chunk in _chunks(piece, body, model, identity):
                yield event(chunk)
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


def _chunks(
    piece: str | Step | Reply, body: schema.ChatRequest, model: schema.ModelOut, identity: str
) -> list[dict[str, Any]]:
    """The chunks for a piece of a backend's stream. Steps and the reply's fields are under ``medclm``."""
    if isinstance(piece, str):
        return [schema.chunk(identity, model.name, {"content": piece})]
    if isinstance(piece, Step):
        reasoned = schema.Reasoned(step=schema.StepOut.of(piece)).model_dump()
        return [schema.chunk(identity, model.name, {}, medclm=reasoned)]
    prediction = piece.prediction
    answered = schema.Answered(**schema.answered(prediction, body.mode, model)).model_dump()
    chosen = schema.log_probs(prediction) if body.logprobs else None
    last = [schema.chunk(identity, model.name, {}, prediction.finish, chosen, medclm=answered)]
    if body.stream_options is not None and body.stream_options.include_usage:
        counts = schema.usage(prediction).model_dump()
        last.append({**schema.chunk(identity, model.name, {}), "choices": [], "usage": counts})
    return last
