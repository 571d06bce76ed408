"""The settings of ``medclm serve``."""

from __future__ import annotations

from pydantic import Field

from medclm.config.base import Config


class ServeConfig(Config):
    """``medclm serve``: the arguments of the Serve application."""

    model: str
    name: str = "medclm"
    """The model's name in the API."""
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(2, ge=1)
    target_ongoing_requests: int = Field(4, ge=1)
    """Requests in progress per replica that the autoscaler aims at."""
    upscale_delay_s: float = Field(10, ge=0)
    downscale_delay_s: float = Field(120, ge=0)
    max_ongoing_requests: int = Field(32, ge=1)
    """Requests that a replica holds; more wait."""
    max_queued_requests: int = Field(128, ge=1)
    """Requests that wait; more are answered 429."""
    max_batch_size: int = Field(8, ge=1)
    batch_wait_s: float = Field(0.01, ge=0)
    num_gpus: float = Field(0, ge=0)
    num_cpus: float = Field(1, ge=0)
    threads: int = Field(1, ge=1)
    max_new_tokens: int = Field(256, ge=1)
    max_upload_bytes: int = Field(64 * 2**20, ge=1)
    max_image_pixels: int = Field(50_000_000, ge=1)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
