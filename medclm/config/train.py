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
    finetune: Literal["full", "frozen-vision", "projector", "lora", "lora-projector"] = "full"
    """What is trained. ``full``: everything. ``frozen-vision``: all but the vision tower. ``projector``: only what
    joins the tower to the language model. ``lora``: adapters on the family's modules. ``lora-projector``: adapters on
    the language model, and the projector whole."""
    lora_rank: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the passes compute in. ``auto``: bfloat16 on a GPU that has it, float32 elsewhere. The weights that the
    optimizer updates are float32 in either case."""
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
    localization_choose: int = Field(0, ge=0)
    """So many heads are chosen by measurement, of any layers: those of the base that look most at the picture (A3Tune),
    on the first explained rows of the training split. 0: layers and heads as given above."""
    localization_box: Literal["true", "random"] = "true"
    """``random``, an ablation: L_loc aims at a box of the same size elsewhere in the picture."""
    localization_at: Literal["line", "question"] = "line"
    """Where a line of the reasoning looks: ``line``, at its own box where it has one; ``question``, at all boxes that
    the question rests on. The answer, and a line without a box, always look at all of them."""
    loc_stages: tuple[Literal["easy", "medium"], ...] = ("easy", "medium")


class ScheduleConfig(Config):
    """Which stage an example trains (METHOD section 3). Shares and lengths are shares of the run, so that a schedule
    means the same on any number of steps."""

    name: Literal["competence", "paper", "fixed", "uniform", "reversed", "hard-only", "cot-only"] = "competence"
    """``competence``: a domain moves on when Medium has caught up with Easy. ``paper``: the published rule. ``fixed``:
    easy, medium, hard at step boundaries; ``reversed``: hard, medium, easy. ``uniform``: always the same mixture.
    ``hard-only``, ``cot-only`` (Medium): one stage."""
    easy: float = Field(0.3, ge=0)
    medium: float = Field(0.5, ge=0)
    hard: float = Field(0.2, ge=0)
    """``fixed``, ``reversed``: shares of the steps. ``uniform``: of the examples. ``competence``: of the examples once
    all stages are entered. Normalised to 1."""
    floor: float = Field(0.1, ge=0, lt=1)
    """Share of the examples that goes to each stage already entered (``competence``), or to all of them together
    (``fixed``, ``reversed``), so that none is forgotten."""
    window: int = Field(0, ge=0)
    """Steps between two decisions; 0: a 25th of the run, at least 8 and at most 200."""
    history: float = Field(0.9, ge=0, lt=1)
    """Weight of the past in the running mean of a loss, at each decision."""
    threshold: float = Field(0.1, ge=0)
    """``competence``: Medium has caught up when its loss is at most this much (relative) above Easy's."""
    flat: float = Field(0.01, gt=0)
    """``competence``: the gap is flat when it changes by no more than this from one decision to the next."""
    patience: int = Field(2, ge=1)
    """``competence``: decisions in a row for which it must have caught up."""
    plateau: int = Field(6, ge=1)
    """``competence``: flat decisions in a row after which a domain moves on although Medium has not caught up."""
    shortest: float = Field(0.1, ge=0, le=1)
    longest: float = Field(0.35, gt=0, le=1)
    """``competence``: least and greatest share of the run that a domain spends in Easy, and again in Medium."""
    ramp: float = Field(0.1, ge=0, le=1)
    """``competence``: share of the run over which a new mixture fades in."""
    least_seen: int = Field(32, ge=1)
    """``competence``: examples that a domain must have shown before it decides for itself; until then it follows all
    domains together."""
    backoff: float = Field(0.05, gt=0)
    """``competence``: Hard's share shrinks by a tenth when Medium's loss is this much (relative) above its best."""
    probe_questions: int = Field(32, ge=0)
    """Held-out questions whose Easy and Medium losses ``competence`` decides by; 0, or no validation split: the
    training losses."""
    epochs: int = Field(30, ge=1)
    """``paper``: epochs that the run counts as; the published rule is written in epochs."""


class OptimConfig(Config):
    """AdamW with warm-up and cosine decay."""

    lr: float = Field(2e-5, gt=0)
    vision_lr: float | None = Field(None, gt=0)
    projector_lr: float | None = Field(None, gt=0)
    """Peak learning rates of the vision tower and the projector; ``lr`` where not set."""
    min_lr_share: float = Field(0.05, ge=0, le=1)
    warmup_share: float = Field(0.05, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)


class ParallelConfig(Config):
    """How the workers share the model: FSDP2."""

    reshard: Literal["auto", "always", "never"] = "auto"
    """Whether a block's weights are freed between its forward and its backward pass; ``auto``: from a billion
    parameters."""
    cpu_offload: bool = False
    """Weights, gradients and optimizer state live in host memory."""
    checkpoint_activations: bool = False
    """Recompute each block's activations in the backward pass instead of keeping them."""


class TrainConfig(Config):
    """``medclm train``."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    optim: OptimConfig = OptimConfig()
    parallel: ParallelConfig = ParallelConfig()
    steps: int = Field(1000, ge=1)
    batch_size: int = Field(24, ge=1)
    """Questions in a global step, all workers and accumulation steps together."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches that a worker's part of a step is cut into, by length."""
    bucket_steps: int = Field(1, ge=1)
    """Steps whose examples are drawn together and dealt out by length, so that a micro-batch has little padding."""
    seed: int = 0
    reasoning_steps: tuple[str, ...] = ()
    """Steps of the rationale that the target keeps (``seed``, ``organ`` …); empty keeps all."""
    reasoning_from: Literal["row", "other"] = "row"
    """``other``, an ablation: the reasoning of another row of the same type stands before the answer."""
    workers: int = Field(1, ge=1)
    """Ray Train workers; one GPU each where the cluster has GPUs. A run may go on with another number."""
    min_workers: int | None = Field(None, ge=1)
    """Fewer workers that the run may begin or go on with when the cluster has no room for ``workers``."""
    threads: int = Field(1, ge=1)
    """CPU threads a worker computes with where there is no GPU."""
    checkpoint_every: int = Field(200, ge=1)
    evaluate_every: int = Field(0, ge=0)
    """Steps between held-out evaluations (validate split); 0: only at the end."""
    evaluate_limit: int = Field(64, ge=1)
    log_every: int = Field(10, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    max_failures: int = Field(1, ge=0)
    tracker: Literal["tensorboard", "mlflow"] = "tensorboard"
    """Where the curves go; ``mlflow`` is an extra and reads MLFLOW_TRACKING_URI."""
    peak_tflops: float = Field(0, ge=0)
    """Of one device, for the MFU; 0: known for common GPUs, else no MFU is given."""
