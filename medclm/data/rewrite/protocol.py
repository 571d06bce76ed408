"""What every rewording engine does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from medclm.data.rewrite.prompt import Messages

Done = Callable[[int, str], None]
"""Called with (index of the prompt, answer) as soon as an answer is there, so that none is lost when a job dies."""


class Engine(Protocol):
    """A model that answers chats.

    Attributes:
        name: engine and model, e.g. ``openai:gpt-4o-mini``; what ``Question.generator`` says.
        parameters: everything beside the prompt that an answer depends on.
    """

    name: str
    parameters: dict[str, Any]

    def complete(self, prompts: list[Messages], done: Done) -> list[str | None]:
        """One answer a prompt, in order; None where the engine failed for that prompt.

        Raises:
            MedclmError: nothing can be answered (no such model, wrong key, endpoint not reachable).
        """
        ...
