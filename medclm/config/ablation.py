"""The settings of ``medclm ablate``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medclm.config.base import Config
from medclm.config.train import TrainConfig
from medclm.data.records import QuestionType


class PhantomConfig(Config):
    """A phantom dataset, drawn anew; see ``medclm sample phantom``."""

    count: int = Field(480, ge=2)
    size: int = Field(128, ge=32)
    seed: int = 0


class ArmConfig(Config):
    """One arm: how it differs from the common training settings, and how it is asked."""

    says: str = ""
    """What the arm is, for the table."""
    train: dict[str, Any] = {}
    """Dotted TrainConfig keys."""
    linking: Literal["coverage", "iou-argmax"] = "coverage"
    """How its training rows were linked to organs. The test rows are always linked by coverage."""
    mode: Literal["reason", "answer"] = "reason"
    """Whether it is asked to explain."""
    drawn: bool = False
    """Draw the lesion boxes at test, too: an oracle, no fair arm."""
    model_of: str = ""
    """Take the models of this arm instead of training."""
    flat: bool = False
    """Whether it counts as flat fine-tuning, the best of which the reference is held against."""


class AblationConfig(Config):
    """``medclm ablate``: arms with equal steps and data, several seeds, one held-out set."""

    train: TrainConfig = TrainConfig()
    """Common to all arms."""
    arms: dict[str, ArmConfig]
    reference: str = "curriculum"
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    data: PhantomConfig = PhantomConfig()
    """What is trained on."""
    test: PhantomConfig = PhantomConfig(count=240, seed=90_001)
    """What is asked about: other patients, drawn with another seed."""
    question_types: tuple[QuestionType, ...] = ()
    """Only these are asked; empty: all."""
    max_questions: int = Field(8, ge=1)
    eval_questions: int = Field(400, ge=1)
    """Test questions that each model answers."""
    concurrent: int = Field(1, ge=1)
    """Runs side by side."""
