"""The settings of ``medclm serve``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medclm.config.base import Config


class ServeConfig(Config):
    """``medclm serve``: the arguments of the Serve application."""

    model: str
    name: str = "medclm"
    """The model's name in the API."""
    adapters: dict[str, str] = {}
    """More LoRA adapters of the same base: directory by name in the API; a request's ``model`` picks one."""
    max_adapters: int = Field(3, ge=1)
    """Adapters that a replica holds at once; the one used longest ago makes room."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """``vllm`` answers through ``ray.serve.llm`` and needs the extra ``medclm[vllm]``, a GPU, and merged weights."""
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(2, ge=1)
    target_ongoing_requests: int = Field(8, ge=1)
    """Requests in progress per replica that the autoscaler aims at."""
    upscale_delay_s: float = Field(10, ge=0)
    downscale_delay_s: float = Field(120, ge=0)
    drain_s: float = Field(30, ge=0)
    """How long a replica that is replaced may finish what it has."""
    max_ongoing_requests: int = Field(128, ge=1)
    """Requests that a replica holds, decoding or waiting for a row; more wait outside."""
    max_queued_requests: int = Field(32, ge=1)
    """Requests that wait outside; more are answered 429."""
    request_timeout_s: float = Field(120, gt=0)
    """Deadline of a request; 504 after it, and its row is free again."""
    max_batch_size: int = Field(16, ge=1)
    """Rows that decode at once."""
    max_joining: int = Field(8, ge=1)
    """Prompts that may join between two steps."""
    num_gpus: float = Field(0, ge=0)
    num_cpus: float = Field(1, ge=0)
    threads: int = Field(1, ge=1)
    api_replicas: int = Field(1, ge=1)
    """Ingress replicas: they decode pictures and speak HTTP, on CPUs only."""
    api_cpus: float = Field(0, ge=0)
    max_new_tokens: int = Field(256, ge=1)
    max_upload_bytes: int = Field(64 * 2**20, ge=1)
    max_image_pixels: int = Field(50_000_000, ge=1)
    max_images: int = Field(4, ge=1)
    """Pictures in one turn."""
    keys_file: str | None = None
    """Accepted API keys, one SHA-256 in hex a line, a name after it; ``medclm key NAME`` makes lines."""
    allow_hosts: list[str] = []
    """Hosts that image addresses may name over https. Empty: nothing is ever fetched."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)

    @property
    def held(self) -> int:
        """Requests that are in the server at most."""
        return self.max_queued_requests + max(self.max_replicas, self.min_replicas) * self.max_ongoing_requests
