"""What every map from the columns of a table has in common: it is checked, and may say where patients are named."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from medclm.errors import UsageError


class Columns(BaseModel):
    """Which column says what; "" where none does. Names are the header's, without blanks at either end.

    Attributes:
        patient_pattern: regular expression at the start of the image id whose first group is the patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient_pattern: str = ""

    @field_validator("patient_pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        if pattern and not groups:
            raise ValueError("needs a group for the patient")
        return pattern

    @classmethod
    def of(cls, columns: dict[str, Any] | Self | None) -> Self:
        """A map from its fields. Raises UsageError where it is wrong."""
        if isinstance(columns, cls):
            return columns
        try:
            return cls.model_validate(columns or {})
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, fault['loc'])) or 'columns'}: {fault['msg']}" for fault in error.errors()]
            raise UsageError(
                "the column map is wrong", got="; ".join(faults), expected=", ".join(cls.model_fields)
            ) from None
