"""The settings of ``medclm eval``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medclm.config.base import Config


class EvalConfig(Config):
    """How a model is asked. Decoding is greedy, always."""

    limit: int | None = Field(None, ge=1)
    """At most this many questions of each benchmark, drawn by ``seed``."""
    seed: int = 0
    """Of the draw, the shuffled images, the masks and the resampling."""
    mode: Literal["reason", "answer"] = "reason"
    """``reason`` has the model explain before it answers, ``answer`` has it answer at once."""
    controls: bool | tuple[str, ...] = True
    """True for all of "majority", "blank", "shuffled", "text_only", "mask", False for none, or the names of those
    wanted."""
    max_new_tokens: int = Field(256, ge=1)
    """Tokens of an answer, at most."""
    batch_size: int = Field(16, ge=1)
    """Questions generated together."""
    actors: int | None = Field(None, ge=0)
    """Ray actors for a model directory; None: one a GPU, or one. 0: in this process, without Ray."""
    attention: bool = True
    """Measure the attention mass inside reference boxes (local models only)."""
