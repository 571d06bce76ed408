"""Rewording of questions and reasoning by a language model, each rewording verified against its original's facts."""

from __future__ import annotations

from medclm.data.rewrite.compare import same_facts
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.prompt import Bundle, RewordRequest

__all__ = ["Bundle", "RewordConfig", "RewordRequest", "same_facts"]
