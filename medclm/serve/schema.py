"""What goes over the wire: a subset of OpenAI's chat completions, and ``/v1/predict``.

Fields that this server does not know are ignored, as OpenAI's clients send many; fields that it knows and cannot
honour are refused. ``mode`` is our one addition to a chat request (``extra_body={"mode": "answer"}``), ``medclm`` the
one to a completion: :class:`Answered`, in a stream in its last chunk, after a :class:`Reasoned` in an own chunk for
each step. The forced prefix of an answer was not chosen by the model: it is part of the text and has no ``logprobs``.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from medclm.data.records import BoxXyxy, Step, Window
from medclm.serve.predictor import Mode, Prediction

DISCLAIMER = "Research software, not a medical device."
MAX_QUESTION = 4000
"""Longest question, characters."""


class ImageUrl(BaseModel):
    """A picture in the request itself: ``data:<type>;base64,<bytes>``; or https to a host that the server allows."""

    url: str
    detail: str | None = None


class TextPart(BaseModel):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """One turn. Only the last user turn is put to the model, with the newest pictures of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    def text(self) -> str:
        """The turn's text parts, joined by spaces."""
        if isinstance(self.content, str):
            return self.content.strip()
        return " ".join(part.text.strip() for part in self.content or [] if isinstance(part, TextPart)).strip()

    def images(self) -> list[str]:
        """The addresses of the turn's pictures."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.image_url.url for part in parts if isinstance(part, ImagePart)]


class StreamOptions(BaseModel):
    """``include_usage``: a last chunk tells the token counts."""

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """Text only."""

    type: Literal["text"]


Stop = Annotated[str, Field(min_length=1, max_length=200)]


class ChatRequest(BaseModel):
    """``POST /v1/chat/completions``. Greedy unless ``temperature`` is given."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=256)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: Literal[1] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    logprobs: bool | None = None
    top_logprobs: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    mode: Mode = "reason"

    def stops(self) -> tuple[str, ...]:
        """The stop texts as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def limit(self, most: int) -> int:
        """How many tokens to generate, at most ``most``."""
        return min(self.max_completion_tokens or self.max_tokens or most, most)


class StepOut(BaseModel):
    """One step of the reasoning; ``box_xyxy`` in pixels of the picture as sent, x2 and y2 exclusive."""

    step: str
    text: str
    box_xyxy: BoxXyxy | None

    @classmethod
    def of(cls, step: Step) -> StepOut:
        """Without the facts that it rests on."""
        return cls(step=step.step, text=step.text, box_xyxy=step.box_xyxy)


class Reasoned(BaseModel):
    """``medclm`` of a chunk in the middle of a stream: the step whose line the text before has just ended.

    The chunk adds no text (its ``delta`` is empty). These steps are the first ones of ``Answered.steps``, in order and
    equal to them; a last line that no line break ends is there only.
    """

    step: StepOut


class ModelOut(BaseModel):
    """Which model answered: the fingerprint of the run that trained it, its base, and, where it is an adapter on that
    base, the adapter's fingerprint."""

    name: str
    version: str
    base: str = "unknown"
    adapter: str | None = None

    @classmethod
    def of(cls, name: str, info: dict[str, Any]) -> ModelOut:
        """From ``medclm.json``."""
        version = str(info.get("fingerprint") or "unknown")
        return cls(
            name=name,
            version=version,
            base=str(info.get("base") or "unknown"),
            adapter=version if info.get("is_adapter") else None,
        )


class Answered(BaseModel):
    """What the model found, as data."""

    answer: str
    confidence: float = Field(ge=0, le=1)
    steps: list[StepOut]
    mode: Mode
    parsed: bool
    model: ModelOut
    disclaimer: str = DISCLAIMER


class Usage(BaseModel):
    """Token counts; image tokens are prompt tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ImageOut(BaseModel):
    """The picture as the model saw it. ``data``: a PNG data URI where it was asked for."""

    width: int
    height: int
    window: Window | None = None
    data: str | None = None


class PredictResponse(Answered):
    """``POST /v1/predict``."""

    text: str
    image: ImageOut
    usage: Usage


class ErrorOut(BaseModel):
    """What is wrong, in OpenAI's shape."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorOut


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 408, 409, 413, 422, 429, 431, 500, 503, 504)
}
"""For the OpenAPI document."""


def answered(prediction: Prediction, mode: Mode, model: ModelOut) -> dict[str, Any]:
    """The fields of :class:`Answered`."""
    return {
        "answer": prediction.answer,
        "confidence": min(max(prediction.confidence, 0.0), 1.0),
        "steps": [StepOut.of(step) for step in prediction.steps],
        "mode": mode,
        "parsed": prediction.parsed,
        "model": model,
    }


def usage(prediction: Prediction) -> Usage:
    """The token counts of one answer."""
    prompt, completion = prediction.prompt_tokens, prediction.completion_tokens
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def completion_id() -> str:
    """A fresh id for a chat completion."""
    return f"chatcmpl-{uuid.uuid4().hex}"


def log_probs(prediction: Prediction) -> dict[str, Any]:
    """OpenAI's ``logprobs``: natural logarithms under the model before any temperature, one entry a generated token."""
    content = [
        {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
        for text, value in prediction.tokens
    ]
    return {"content": content, "refusal": None}


def completion(
    identity: str, prediction: Prediction, mode: Mode, model: ModelOut, with_log_probs: bool = False
) -> dict[str, Any]:
    """A chat completion in OpenAI's shape, with :class:`Answered` under ``medclm``."""
    message = {"role": "assistant", "content": prediction.text, "refusal": None}
    chosen = log_probs(prediction) if with_log_probs else None
    choice = {"index": 0, "message": message, "finish_reason": prediction.finish, "logprobs": chosen}
    return {
        "id": identity,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model.name,
        "choices": [choice],
        "usage": usage(prediction).model_dump(),
        "medclm": Answered(**answered(prediction, mode, model)).model_dump(),
    }


def chunk(
    identity: str,
    name: str,
    delta: dict[str, Any],
    finish: str | None = None,
    chosen: dict[str, Any] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """One piece of a streamed chat completion; the last one has the ``logprobs`` of all tokens, where asked for."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": chosen}
    head = {"id": identity, "object": "chat.completion.chunk", "created": int(time.time()), "model": name}
    return {**head, "choices": [choice], **extra}
