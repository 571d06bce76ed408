"""The settings of rewording, nested as ``reword:`` in the build's configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

NOT_CONTENT = {"cache", "concurrency", "retries", "timeout_s", "actors", "num_gpus", "batch_size", "max_cost"}
"""Settings that do not change what is written."""


class RewordConfig(BaseModel):
    """Who rewords questions and reasoning, if anybody. Every rewording is verified; else the template's text stays."""

    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True)

    engine: Literal["none", "transformers", "openai", "vllm"] = "none"
    model: str = ""
    """A local directory or hub name (``transformers``, ``vllm``), or the endpoint's model (``openai``)."""
    gguf_file: str = ""
    """``transformers``: the GGUF file in ``model`` to read the weights from."""
    base_url: str = ""
    """``openai``: the endpoint, e.g. ``http://127.0.0.1:8000/v1``; empty: ``OPENAI_BASE_URL``, else OpenAI's own."""
    api_key_variable: str = "OPENAI_API_KEY"
    """``openai``: environment variable with the key. The key itself is never stored."""
    temperature: float = Field(0.7, ge=0, le=2)
    """0: greedy."""
    max_new_tokens: int = Field(768, ge=1)
    seed: int = 0
    batch_size: int = Field(16, ge=1)
    """Prompts that the model sees at once (``transformers``, ``vllm``)."""
    concurrency: int = Field(16, ge=1)
    """``openai``: requests under way at once, for one actor."""
    retries: int = Field(5, ge=0)
    """``openai``: tries after the first one of a request that failed, with back-off, as ``Retry-After`` says."""
    timeout_s: float = Field(60, gt=0)
    """``openai``: of one try."""
    steps: bool = True
    """Reword the reasoning too, not the questions alone."""
    together: bool = True
    """Ask for all texts of a question in one JSON answer. False: one plain text a prompt, for models of few parameters
    that cannot keep JSON."""
    cache: str = ""
    """Directory that keeps every answer, any fsspec address; a rerun asks nothing twice. Empty: none."""
    price_per_million_in: float = Field(0, ge=0)
    price_per_million_out: float = Field(0, ge=0)
    """Prices of a million tokens, for the cost estimate; any currency."""
    max_cost: float | None = Field(None, ge=0)
    """Refuse to go on when the estimated cost is above this, in the currency of the prices."""
    actors: int = Field(1, ge=1)
    num_gpus: float = Field(0, ge=0)
    """GPUs that an actor reserves (``transformers``)."""
