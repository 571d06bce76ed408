"""An OpenAI-compatible endpoint that answers asks: ours, or any other. Through the official client.

Requests under way are bounded; one that fails is tried again with back-off, as ``Retry-After`` says (the client's own
rule); one that times out or comes back as nonsense is counted with its reason and does not stop the others. The
evaluation run again asks the failed ones again.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medclm.errors import MedclmError, UsageError
from medclm.eval.asks import Ask, Picture, Window
from medclm.eval.foreign import BoxUnits, read_text
from medclm.eval.replies import Reply, broken, failed

INSTRUCTION = {
    "answer": "Answer the question about the picture with one word or a short phrase, nothing else.",
    "reason": "Reason about the picture step by step. Then write 'Answer:' and one word or a short phrase.",
}
"""The system message that other models get; ours was trained without one and does not read it."""
GIVE_UP = 16
"""Failures to connect, with nothing answered before, after which the endpoint is held to be down."""


@dataclass(frozen=True)
class Endpoint:
    """Where the endpoint is and how it is asked.

    Attributes:
        url: up to and with ``/v1``.
        model: as the endpoint names it; empty: the first that it lists.
        api_key_variable: environment variable with the key; the endpoint may need none.
        concurrency: requests under way at once.
        retries: tries after the first.
        timeout_s: of one try.
        box_units: what the numbers of a box in a foreign text mean.
    """

    url: str
    model: str = ""
    api_key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 16
    retries: int = 5
    timeout_s: float = 60.0
    box_units: BoxUnits = "pixels"


class Chat:
    """One endpoint, reached.

    Attributes:
        info: for eval.json: family, url, model.
        ours: whether medclm serves it.

    Raises:
        UsageError: the package openai is missing, or nothing answers at the address.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        openai = import_openai()
        self.endpoint = endpoint
        key = os.environ.get(endpoint.api_key_variable) or "none"
        self._client = {"base_url": endpoint.url, "api_key": key, "max_retries": endpoint.retries}
        try:
            with openai.OpenAI(**self._client, timeout=endpoint.timeout_s) as client:
                models = list(client.models.list().data or [])
        except (openai.APIError, ValueError, AttributeError, TypeError) as error:
            if not endpoint.model:
                raise UsageError(
                    "the endpoint does not say which models it has",
                    where=endpoint.url,
                    got=str(error)[:200],
                    remedy="start it, check the address (up to and with /v1), or give --served-model",
                ) from error
            models = []
        if not models and not endpoint.model:
            raise UsageError("the endpoint lists no model", where=endpoint.url, remedy="give --served-model")
        self.model = endpoint.model or str(models[0].id)
        self.ours = any(m.id == self.model and getattr(m, "owned_by", "") == "medclm" for m in models)
        self.version = next((str(getattr(m, "version", "")) for m in models if m.id == self.model), "")
        self.info = {"family": "endpoint", "url": endpoint.url, "served_model": self.model, "version": self.version}

    def client(self) -> Any:
        """A new asynchronous client; close it by ``async with``."""
        return import_openai().AsyncOpenAI(**self._client, timeout=self.endpoint.timeout_s)

    async def say(self, client: Any, messages: list[dict[str, Any]], max_tokens: int, mode: str) -> tuple[str, Any]:
        """(text, the reply's own ``medclm`` part or None).

        Raises:
            openai.APIError, ValueError: nothing came back, or something that is no chat completion.
        """
        more = {"extra_body": {"mode": mode}} if self.ours and mode else {}
        reply = await client.chat.completions.create(
            model=self.model, messages=messages, temperature=0, max_tokens=max_tokens, **more
        )
        choices = getattr(reply, "choices", None)
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        if message is None or not isinstance(message.content, str):
            raise ValueError(f"the reply is no chat completion: {str(reply)[:120]!r}")
        return message.content, getattr(reply, "medclm", None)


def import_openai() -> Any:
    """
    Raises:
        UsageError: it is not installed.
    """
    try:
        import openai
    except ImportError as error:
        raise UsageError(
            "an endpoint needs a package that is not installed", remedy="pip install 'medclm[openai]'"
        ) from error
    return openai


def answer_windows(
    chat: Chat, windows: Sequence[Window], keep: Callable[[int, list[Reply]], None], mode: str, max_new_tokens: int
) -> None:
    """Asks all windows; ``keep`` gets the replies of each as soon as they are complete.

    Raises:
        MedclmError: the endpoint cannot be reached at all, or refuses the key or the model.
    """
    asyncio.run(_Session(chat, mode, max_new_tokens).run(windows, keep))


class _Session:
    """One run over an endpoint."""

    def __init__(self, chat: Chat, mode: str, max_new_tokens: int) -> None:
        self.chat, self.mode, self.max_new_tokens = chat, mode, max_new_tokens
        self.openai = import_openai()
        self.answered = self.unreachable = 0

    async def run(self, windows: Sequence[Window], keep: Callable[[int, list[Reply]], None]) -> None:
        free = asyncio.Semaphore(self.chat.endpoint.concurrency)
        ahead = asyncio.Semaphore(max(2, self.chat.endpoint.concurrency // 4))
        async with self.chat.client() as client:

            async def one(place: int, window: Window) -> None:
                async with ahead:
                    pictures = {p.name: await asyncio.to_thread(_encoded, p) for p in window.pictures}
                    asking = [self._ask(client, free, ask, pictures.get(ask.picture)) for ask in window.asks]
                    keep(place, list(await asyncio.gather(*asking)))

            try:
                async with asyncio.TaskGroup() as group:
                    for place, window in enumerate(windows):
                        group.create_task(one(place, window))
            except* (MedclmError, self.openai.APIStatusError) as stopped:
                raise self._refusal(stopped.exceptions[0]) from None

    async def _ask(self, client: Any, free: asyncio.Semaphore, ask: Ask, picture: _Encoded | None) -> Reply:
        if picture is not None and picture.problem:
            return broken(picture.problem)
        content: list[dict[str, Any]] = [{"type": "text", "text": ask.question}]
        if picture is not None:
            content.append({"type": "image_url", "image_url": {"url": picture.uri}})
        system: list[dict[str, Any]] = [] if self.chat.ours else [{"role": "system", "content": INSTRUCTION[self.mode]}]
        openai = self.openai
        async with free:
            try:
                messages: list[dict[str, Any]] = [*system, {"role": "user", "content": content}]
                text, own = await self.chat.say(client, messages, self.max_new_tokens, self.mode)
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError):
                raise  # no ask can be answered
            except openai.APITimeoutError:
                tries = 1 + self.chat.endpoint.retries
                return failed(f"the endpoint did not answer within {self.chat.endpoint.timeout_s:g} s, {tries} times")
            except openai.APIConnectionError as error:
                return self._no_connection(error)
            except (openai.APIError, ValueError) as error:  # ValueError: a body that is not JSON, or no completion
                return failed(f"the endpoint's reply cannot be used: {type(error).__name__}: {str(error)[:200]}")
        self.answered += 1
        size_hw = picture.size_hw if picture is not None else (1, 1)
        return Reply(read_text(text, own, size_hw, self.chat.endpoint.box_units))

    def _no_connection(self, error: Exception) -> Reply:
        self.unreachable += 1
        if self.unreachable >= GIVE_UP and not self.answered:
            raise MedclmError(
                "the endpoint cannot be reached", where=self.chat.endpoint.url, got=error, remedy="start it"
            )
        return failed(f"no connection to the endpoint: {error.__cause__ or error}")

    def _refusal(self, error: BaseException) -> MedclmError:
        """What no retry can mend: a wrong key, a key without rights, an unknown model."""
        if isinstance(error, MedclmError):
            return error
        return MedclmError(
            "the endpoint refuses the request",
            where=self.chat.endpoint.url,
            got=str(error)[:300],
            remedy=f"check --served-model and the key in {self.chat.endpoint.api_key_variable}",
        )


@dataclass(frozen=True)
class _Encoded:
    """A picture as a PNG data URI and its (height, width), or what is wrong with it."""

    uri: str = ""
    size_hw: tuple[int, int] = (1, 1)
    problem: str = ""


def _encoded(picture: Picture) -> _Encoded:
    try:
        image = picture.open()
    except MedclmError as error:
        return _Encoded(problem="; ".join(line.strip() for line in error.message().splitlines()))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return _Encoded(uri, (image.height, image.width))
