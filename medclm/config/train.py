"""The settings of ``medclm train``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medclm.config.base import Config


class TinyConfig(Config):
    """The shape of the ``tiny`` base model; ``image_size`` and ``patch_size`` in pixels."""

    vision: Literal["auto", "phantom", "random"] = "auto"
    """The vision tower: the shipped one, which knows phantoms, a random one, or the shipped one where it fits."""
    image_size: int = Field(96, ge=8)
    patch_size: int = Field(8, ge=1)
    scale: int = Field(2, ge=1)
    """Pixel shuffle: this many patches squared become one image token."""
    vision_width: int = Field(96, ge=8)
    vision_layers: int = Field(3, ge=1)
    text_width: int = Field(96, ge=8)
    text_layers: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    vocabulary: int = Field(1024, ge=300)
    init: float = Field(0.06, gt=0)
    """Standard deviation of the random weights."""


class ModelConfig(Config):
    """The base model and how it is trained."""

    base: str = "tiny"
    """``tiny`` (a small SmolVLM made from config, tokenizer made from the data), a local path or a hub name."""
    finetune: Literal["lora", "full"] = "full"
    freeze_vision: bool = False
    """Leave the vision tower as the base has it."""
    lora_rank: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 on a GPU that has it, float32 elsewhere."""
    tiny: TinyConfig = TinyConfig()
    """Used where ``base`` is ``tiny``."""


class LossConfig(Config):
    """The weights of METHOD section 2."""

    answer: float = Field(0.8, ge=0)
    reasoning: float = Field(0.2, ge=0)
    localization: float = Field(1.0, ge=0)
    """lambda of L_loc; 0 turns it off."""
    localization_form: Literal["mass", "kl"] = "mass"
    localization_layers: tuple[int, ...] = ()
    """Decoder layers whose attention is supervised; empty: the layer just past the middle."""
    localization_heads: tuple[int, ...] = ()
    """Heads that are supervised; empty: all of them."""
    loc_stages: tuple[Literal["easy", "medium"], ...] = ("easy", "medium")


class ScheduleConfig(Config):
    """Which stage a step trains. ``fixed``: the run's steps are split at these shares."""

    name: Literal["fixed", "uniform", "hard-only", "cot-only"] = "fixed"
    easy: float = Field(0.3, ge=0)
    medium: float = Field(0.5, ge=0)
    hard: float = Field(0.2, ge=0)
    """Shares of the steps, normalised to 1."""
    floor: float = Field(0.0, ge=0, lt=1)
    """``fixed``: share of a step's examples that go to the stages already entered, so that none is forgotten."""


class OptimConfig(Config):
    """AdamW with warm-up and cosine decay."""

    lr: float = Field(2e-5, gt=0)
    min_lr_share: float = Field(0.05, ge=0, le=1)
    warmup_share: float = Field(0.05, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)


class TrainConfig(Config):
    """``medclm train``."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    optim: OptimConfig = OptimConfig()
    steps: int = Field(1000, ge=1)
    batch_size: int = Field(24, ge=1)
    """Questions in a global step, all workers and accumulation steps together."""
    accumulate: int = Field(1, ge=1)
    seed: int = 0
    reasoning_steps: tuple[str, ...] = ()
    """Steps of the rationale that the target keeps (``seed``, ``organ`` …); empty keeps all."""
    workers: int = Field(1, ge=1)
    """Ray Train workers; one GPU each where the cluster has GPUs."""
    threads: int = Field(1, ge=1)
    """CPU threads a worker computes with where there is no GPU."""
    checkpoint_every: int = Field(200, ge=1)
    evaluate_every: int = Field(0, ge=0)
    """Steps between held-out evaluations (validate split); 0: only at the end."""
    evaluate_limit: int = Field(64, ge=1)
    log_every: int = Field(10, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    max_failures: int = Field(1, ge=0)
