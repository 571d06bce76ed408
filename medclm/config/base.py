"""What all configuration classes share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Unknown keys are errors, defaults are checked like given values."""

    model_config = ConfigDict(extra="forbid", validate_default=True)
