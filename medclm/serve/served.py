"""What the routes share: the bounds of a request, the backend, and how an answer is got and counted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request as HttpRequest

from medclm.serve import schema
from medclm.serve.backend import Backend, Call, Reply
from medclm.serve.guards import ApiError
from medclm.serve.images import Shown, decode, from_uri
from medclm.serve.metrics import Metrics
from medclm.serve.once import Once

if TYPE_CHECKING:
    from medclm.config import ServeConfig


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
    asker = http.headers.get("authorization", "")
    return hashlib.sha256(f"{asker} {key}".encode()).hexdigest()


def _content(call: Call) -> bytes:
    request = call.request
    pictures = b"".join(image.tobytes() for image in (*request.earlier, request.image))
    return repr((call.model, request.question, request.mode, request.settings)).encode() + pictures
