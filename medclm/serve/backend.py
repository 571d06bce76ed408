"""What the API asks of whatever answers: a call, a reply, and a refusal. Plain data, no Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from medclm.data.records import Step
from medclm.serve.engine import Stats
from medclm.serve.predictor import Prediction, Request


@dataclass(frozen=True)
class Call:
    """One request to one of the served models, and how many seconds it may take."""

    request: Request
    model: str
    timeout_s: float = 120.0


@dataclass(frozen=True)
class Reply:
    """An answer, which replica gave it, and how that replica's engine stood then."""

    prediction: Prediction
    replica: str = ""
    stats: Stats | None = None


class Backend(Protocol):
    """What answers: :class:`medclm.serve.app.Replicas`, or anything else with these."""

    async def predict(self, call: Call) -> Reply:
        """One answer. Raises ApiError: 429 when too many wait, 504 after the deadline."""
        ...

    def stream(self, call: Call) -> AsyncIterator[str | Step | Reply]:
        """The text piece by piece, forced prefix first, and last the whole reply. After the piece that ends a line of
        the reasoning comes its step (:class:`medclm.train.target.StepReader`), as the reply will have it."""
        ...

    async def models(self) -> dict[str, dict[str, Any]]:
        """What is served: ``medclm.json`` and versions, by the name in the API. Asks no model replica."""
        ...

    async def ready(self) -> bool:
        """Whether a request would be answered now."""
        ...
