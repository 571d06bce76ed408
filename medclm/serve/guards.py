"""What stands between the network and the model: keys, size, headers, errors in OpenAI's shape."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

KEYS_VARIABLE = "MEDCLM_API_KEYS"
"""Environment variable with the accepted API keys, separated by commas; empty or unset: no key is asked for."""

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Headers of every response."""

INTERNAL = "the server failed to answer; its log says why"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
logger = logging.getLogger("medclm.serve")


class ApiError(Exception):
    """A request that is refused: HTTP status, message, and OpenAI's ``code`` and ``param``."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        self.status, self.message, self.code, self.param = status, message, code, param
        super().__init__(message)


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def hash_keys(keys: Iterable[str]) -> tuple[bytes, ...]:
    """SHA-256 of each key, so that the keys themselves are held nowhere."""
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys)


def keys_from_environment() -> tuple[bytes, ...]:
    """Hashes of the keys in :data:`KEYS_VARIABLE`."""
    return hash_keys(key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip())


def check_key(authorization: str | None, hashes: tuple[bytes, ...]) -> None:
    """Compare ``Bearer KEY`` with every accepted key in constant time.

    Raises:
        ApiError: 401, the header is missing or names no accepted key.
    """
    if not hashes:
        return
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise ApiError(401, "an API key is needed: send 'Authorization: Bearer KEY'", code="missing_api_key")
    given = hashlib.sha256(key.strip().encode()).digest()
    if not any([hmac.compare_digest(given, known) for known in hashes]):  # a list: every key is compared
        raise ApiError(401, "the API key is not accepted", code="invalid_api_key")


class Shield:
    """ASGI middleware: refuses bodies over ``max_body`` bytes and adds :data:`HEADERS` to every response."""

    def __init__(self, app: Any, max_body: int) -> None:
        self.app, self.max_body = app, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.exceptions import HTTPException
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = 0
        message = f"the request is larger than {self.max_body} bytes"

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen
            event = await receive()
            seen += len(event.get("body", b""))
            if seen > self.max_body:
                raise HTTPException(413, message)
            return event

        async def guarded(event: MutableMapping[str, Any]) -> None:
            if event["type"] == "http.response.start":
                known = {name.lower() for name, _ in event["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in known]
                event = {**event, "headers": [*event["headers"], *extra]}
            await send(event)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.max_body:
            await JSONResponse(error_body(413, message, "request_too_large"), 413)(scope, receive, guarded)
            return
        await self.app(scope, counted, guarded)


def install_errors(app: FastAPI) -> None:
    """Make every error that ``app`` answers with a JSON error in OpenAI's shape."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status)
        body = error_body(error.status, error.message, error.code, error.param)
        return JSONResponse(body, error.status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body") or None
        message = f"{param}: {first['msg']}" if param else str(first["msg"])
        return JSONResponse(error_body(400, message, "invalid_value", param), 400)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
        body = error_body(error.status_code, str(error.detail), codes.get(error.status_code))
        return JSONResponse(body, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        logger.error("a request to %s failed: %s", request.url.path, type(error).__name__, exc_info=error)
        return JSONResponse(error_body(500, INTERNAL, "internal_error"), 500)
