"""What stands between the network and the model: keys, size, headers, errors in OpenAI's shape."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

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

MAX_DEPTH = 32
"""Levels of nested JSON."""
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
INTERNAL = "the server failed to answer; its log says why"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
logger = logging.getLogger("medclm.serve")


class ApiError(Exception):
    """A request that is refused: HTTP status, message, and OpenAI's ``code`` and ``param``.

    Attributes:
        retry_after_s: what 429 and 503 tell the client.
    """

    retry_after_s = 1

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        self.status, self.message, self.code, self.param = status, message, code, param
        super().__init__(message)


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


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
    """ASGI middleware before everything else: size and pace of a request, and :data:`HEADERS` on every response.

    Args:
        app: what it guards.
        max_body: bytes of a body; more is 413.
        max_headers: bytes of all headers together; more is 431.
        patience_s: how long the client may take between two pieces of the body; longer is 408.
        max_at_once: POST requests in progress; more are 429 before anything of them is read.
    """

    def __init__(
        self, app: Any, max_body: int, max_headers: int = 32_768, patience_s: float = 20.0, max_at_once: int = 1024
    ) -> None:
        self.app, self.max_body, self.max_headers, self.patience_s = app, max_body, max_headers, patience_s
        self.max_at_once, self.at_once = max_at_once, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(event: MutableMapping[str, Any]) -> None:
            if event["type"] == "http.response.start":
                known = {name.lower() for name, _ in event["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in known]
                event = {**event, "headers": [*event["headers"], *extra]}
            await send(event)

        asks = scope["method"] == "POST"
        refusal = self._refusal(scope["headers"], asks)
        if refusal is not None:
            await _refuse(refusal, scope, receive, guarded)
            return
        self.at_once += asks
        try:
            await self.app(scope, self._counted(receive), guarded)
        finally:
            self.at_once -= asks

    def _refusal(self, headers: list[tuple[bytes, bytes]], asks: bool) -> ApiError | None:
        if asks and self.at_once >= self.max_at_once:
            return ApiError(429, "too many requests are waiting; try again", code="queue_full")
        if sum(len(name) + len(value) for name, value in headers) > self.max_headers:
            return ApiError(431, f"the headers are larger than {self.max_headers} bytes", "headers_too_large")
        declared = dict(headers).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.max_body:
            return self._too_large()
        return None

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the request is larger than {self.max_body} bytes", "request_too_large")

    def _counted(self, receive: Receive) -> Receive:
        """``receive`` that refuses what is too large or too slow. After the body it waits as long as it takes: that is
        how an application hears of a client that leaves."""
        from starlette.exceptions import HTTPException

        seen, complete = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen, complete
            try:
                event = await asyncio.wait_for(receive(), None if complete else self.patience_s)
            except TimeoutError:
                raise HTTPException(408, "the request's body came too slowly") from None
            complete = complete or not event.get("more_body", False)
            seen += len(event.get("body", b""))
            if seen > self.max_body:
                raise HTTPException(413, self._too_large().message)
            return event

        return counted


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import JSONResponse

    headers = {"Retry-After": str(error.retry_after_s)} if error.status == 429 else None
    await JSONResponse(error_body(error.status, error.message, error.code), error.status, headers)(scope, receive, send)


def check_depth(body: bytes, most: int = MAX_DEPTH) -> None:
    """Refuse JSON that is nested more deeply than ``most``, before a parser recurses into it.

    Raises:
        ApiError: 400.
    """
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > most:
            raise ApiError(400, f"the JSON is nested more than {most} levels deep", code="invalid_json")


def json_route() -> type:
    """A FastAPI route class that runs :func:`check_depth` on JSON bodies."""
    from fastapi import Request
    from fastapi.routing import APIRoute

    class JsonRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Any]:
            handler = super().get_route_handler()

            async def checked(request: Request) -> Any:
                if "json" in request.headers.get("content-type", "json"):
                    check_depth(await request.body())
                return await handler(request)

            return checked

    return JsonRoute


def install_errors(app: FastAPI) -> None:
    """Make every error that ``app`` answers with a JSON error in OpenAI's shape."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        again = {"Retry-After": str(error.retry_after_s)}
        headers = {401: {"WWW-Authenticate": "Bearer"}, 429: again, 503: again}.get(error.status)
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
        codes = {404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "request_too_large"}
        body = error_body(error.status_code, str(error.detail), codes.get(error.status_code))
        return JSONResponse(body, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        logger.error("a request to %s failed: %s", request.url.path, type(error).__name__, exc_info=error)
        return JSONResponse(error_body(500, INTERNAL, "internal_error"), 500)
