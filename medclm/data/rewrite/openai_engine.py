"""Any OpenAI-compatible chat endpoint, through the official client: bounded concurrency, retries with back-off."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from medclm.data.rewrite.prompt import Messages
from medclm.data.rewrite.protocol import Done
from medclm.errors import MedclmError, UsageError


@dataclass(frozen=True)
class Endpoint:
    """Where the endpoint is and how it is asked.

    Attributes:
        base_url: up to and with ``/v1``; empty for the client's own default.
        api_key_variable: environment variable that holds the key. An endpoint on ``base_url`` may need none.
        concurrency: requests under way at once.
        retries: tries after the first; the client backs off exponentially and obeys ``Retry-After``.
        timeout_s: of one try.
    """

    base_url: str = ""
    api_key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 16
    retries: int = 5
    timeout_s: float = 60.0


class OpenAIEngine:
    """``/v1/chat/completions`` of an endpoint."""

    def __init__(
        self, model: str, endpoint: Endpoint, temperature: float = 0.7, max_new_tokens: int = 768, seed: int = 0
    ) -> None:
        """
        Raises:
            UsageError: the package openai is not installed, or the endpoint needs a key that the environment lacks.
        """
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "the openai engine needs a package that is not installed", remedy="pip install 'medclm[openai]'"
            ) from error
        if not endpoint.base_url and not os.environ.get(endpoint.api_key_variable):
            raise UsageError(
                "the endpoint needs a key",
                where=f"environment variable {endpoint.api_key_variable}",
                remedy="set it, or set reword.base_url to an endpoint that needs none",
            )
        self.model, self.endpoint = model, endpoint
        self.name = f"openai:{model}"
        self.parameters: dict[str, Any] = {
            "temperature": temperature,
            "max_tokens": max_new_tokens,
            "seed": seed,
            "base_url": endpoint.base_url,
        }
        self.tokens_in = self.tokens_out = self.failed = 0

    def complete(self, prompts: list[Messages], done: Done) -> list[str | None]:
        """See :class:`medclm.data.rewrite.protocol.Engine`. None: every try of that prompt failed."""
        return asyncio.run(self._complete(prompts, done))

    async def _complete(self, prompts: list[Messages], done: Done) -> list[str | None]:
        import openai

        free = asyncio.Semaphore(self.endpoint.concurrency)
        faults: list[Exception] = []

        async def ask(n: int) -> str | None:
            async with free:
                try:
                    answer = await self._ask(client, prompts[n])
                except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError):
                    raise  # no prompt can be answered
                except (openai.APIError, ValueError) as error:  # ValueError: a body that is not JSON
                    faults.append(error)
                    return None
            if answer is not None:
                await asyncio.to_thread(done, n, answer)
            return answer

        key = os.environ.get(self.endpoint.api_key_variable) or "none"
        async with openai.AsyncOpenAI(
            base_url=self.endpoint.base_url or None,
            api_key=key,
            max_retries=self.endpoint.retries,
            timeout=self.endpoint.timeout_s,
        ) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(ask(n)) for n in range(len(prompts))]
            except* openai.APIStatusError as refused:
                raise self._refusal(refused.exceptions[0]) from None
        self.failed += len(faults)
        unreachable = sum(isinstance(fault, openai.APIConnectionError) for fault in faults)
        if tasks and unreachable == len(tasks):
            raise MedclmError(
                "the rewording endpoint cannot be reached",
                where=self.endpoint.base_url or "OpenAI",
                got=faults[0],
                remedy="start it, or check reword.base_url; answers so far are in reword.cache",
            )
        return [task.result() for task in tasks]

    async def _ask(self, client: Any, messages: Messages) -> str | None:
        """One completion. A body without a choice counts as an answer that cannot be read, and is not kept."""
        sent = {key: self.parameters[key] for key in ("temperature", "max_tokens", "seed")}
        reply = await client.chat.completions.create(model=self.model, messages=messages, **sent)
        choices = getattr(reply, "choices", None)
        if getattr(reply, "usage", None) is not None:
            self.tokens_in += reply.usage.prompt_tokens
            self.tokens_out += reply.usage.completion_tokens
        return choices[0].message.content if choices else None

    def _refusal(self, error: BaseException) -> MedclmError:
        """What no retry can mend: a wrong key, a key without rights, an unknown model."""
        return MedclmError(
            "the rewording endpoint refuses the request",
            where=self.endpoint.base_url or "OpenAI",
            got=str(error)[:300],
            remedy=f"check reword.model and the key in {self.endpoint.api_key_variable}",
        )
