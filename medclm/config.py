"""The configuration of every job: pydantic models, read from YAML plus dotted ``key=value`` overrides.

Unknown keys are errors that suggest the right one. Config stops at the door: the command line, the pipeline, the
launcher and the app unpack it, everything else takes named parameters.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclm.data.records import QuestionType
from medclm.data.rewrite.config import RewordConfig
from medclm.errors import UsageError


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class BuildConfig(_Config):
    """``medclm data build``: a detection dataset becomes question rows."""

    images: str
    """Directory of the images; any fsspec address."""
    annotations: str
    """The annotation file, or the directory of annotation files; any fsspec address."""
    out: str
    """Directory to write; any fsspec address."""
    format: str = "coco"
    """A name of :data:`medclm.data.readers.FORMATS`."""
    reader: dict[str, Any] = {}
    """Options of the reader, e.g. ``reader.consensus=majority``."""
    segmenter: str = "unet:phantom"
    """``NAME[:ARGUMENT]``, e.g. ``masks:DIR`` or ``unet:phantom``."""
    mask_cache: str = ""
    """Directory that keeps organ masks by image hash, for several builds; empty: none."""
    dataset: str = ""
    """Name that the rows carry; the annotations' stem when empty."""
    linking: Literal["coverage", "iou-argmax"] = "coverage"
    min_coverage: float = Field(0.5, gt=0, le=1)
    window: str = "auto"
    """``auto`` (the file's own, else by content) or a CT preset: lung, mediastinum, bone, liver, brain."""
    split: dict[str, float] = {"train": 0.7, "validate": 0.1, "test": 0.2}
    """Share of patients a split gets; a patient stays in one split."""
    max_questions: int = Field(12, ge=1)
    question_types: tuple[QuestionType, ...] = ()
    """Only these types are asked; empty: all."""
    choices_share: float = Field(0.2, ge=0, le=1)
    """Share of the open questions that become multiple choice."""
    ids: Literal["hash", "hash-all", "keep"] = "hash"
    """``hash``: patient and study ids and file addresses become keyed hashes, wherever they occur; ``hash-all``: image
    ids too; ``keep``: everything stays as the source has it."""
    id_key_file: str = ""
    """File with the key of the hashes, at least 16 bytes; empty: ``MEDCLM_ID_KEY``, else this user's own key."""
    text_overlay: Literal["auto", "reject", "keep"] = "auto"
    """What happens to a picture that says, or shows, that text is burned into it. ``auto``: it is set aside, but for
    formats of published pictures that carry a watermark (VQA-RAD: 296 of 314)."""
    reword: RewordConfig = RewordConfig()
    """Whether a language model rewords questions and reasoning; off by default."""
    seed: int = 0
    shard_rows: int = Field(256, ge=1)
    batch_size: int = Field(8, ge=1)
    """Images a segmenter call sees."""
    segmenter_actors: int = Field(1, ge=1)
    annotator_actors: int = Field(1, ge=1)
    num_gpus: float | None = None
    """GPUs a segmenter actor reserves; 1 where the cluster has any and this is not set."""
    max_failed_share: float = Field(0.05, ge=0, le=1)
    """The job fails when more than this share of the images is set aside."""


class TinyConfig(_Config):
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


class ModelConfig(_Config):
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


class LossConfig(_Config):
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


class ScheduleConfig(_Config):
    """Which stage a step trains. ``fixed``: the run's steps are split at these shares."""

    name: Literal["fixed", "uniform", "hard-only", "cot-only"] = "fixed"
    easy: float = Field(0.3, ge=0)
    medium: float = Field(0.5, ge=0)
    hard: float = Field(0.2, ge=0)
    """Shares of the steps, normalised to 1."""
    floor: float = Field(0.0, ge=0, lt=1)
    """``fixed``: share of a step's examples that go to the stages already entered, so that none is forgotten."""


class OptimConfig(_Config):
    """AdamW with warm-up and cosine decay."""

    lr: float = Field(2e-5, gt=0)
    min_lr_share: float = Field(0.05, ge=0, le=1)
    warmup_share: float = Field(0.05, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)


class TrainConfig(_Config):
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


class Choice(_Config):
    """One searched parameter: a list of values, or a range (log-uniform when ``log``)."""

    values: list[Any] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False


class TuneConfig(_Config):
    """``medclm tune``: the searched space over a :class:`TrainConfig`."""

    train: TrainConfig = TrainConfig()
    space: dict[str, Choice] = {
        "schedule.easy": Choice(low=0.0, high=0.6),
        "schedule.hard": Choice(low=0.0, high=0.6),
        "loss.localization": Choice(low=0.03, high=3.0, log=True),
    }
    search: Literal["random", "optuna"] = "random"
    """How values are drawn: independently, or by Optuna's TPE from the trials before."""
    trials: int = Field(8, ge=1)
    concurrent: int = Field(1, ge=1)
    grace_steps: int = Field(100, ge=1)
    reduction_factor: int = Field(2, ge=2)
    metric: str = "accuracy"
    mode: Literal["max", "min"] = "max"
    seed: int = 0


class ServeConfig(_Config):
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


C = TypeVar("C", bound=BaseModel)


def load(
    model: type[C], /, path: str | Path | None = None, overrides: list[str] | tuple[str, ...] = (), **named: Any
) -> C:
    """A validated config of type ``model``.

    Args:
        model: the config class.
        path: a YAML file, or None.
        overrides: dotted ``key=value`` texts; the value is read as YAML. They win over the file.
        named: top-level keys given by command-line options; None means "not given". They win over the file.

    Raises:
        UsageError: the file is missing or no mapping, a key is unknown (with the nearest known one), a value is wrong.
    """
    document = _read(path) if path else {}
    document.update({key: value for key, value in named.items() if value is not None})
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError("an override is not key=value", got=text, expected="e.g. optim.lr=1e-4")
        _set(document, key.strip().split("."), yaml.safe_load(value), text)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _explain(model, error, path) from error


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a config class."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += keys(field.annotation, f"{prefix}{name}.")
    return found


def _read(path: str | Path) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise UsageError("the configuration file does not exist", where=file, remedy="check the path after --config")
    try:
        document = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise UsageError("the configuration file is not YAML", where=file, got=error) from error
    if not isinstance(document, dict):
        raise UsageError("the configuration file is not a mapping", where=file, got=type(document).__name__)
    return document


def _set(document: dict[str, Any], path: list[str], value: Any, text: str) -> None:
    for key in path[:-1]:
        document = document.setdefault(key, {})
        if not isinstance(document, dict):
            raise UsageError("an override goes into a value that is not a mapping", got=text)
    document[path[-1]] = value


def _explain(model: type[BaseModel], error: ValidationError, path: str | Path | None) -> UsageError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    where = path or "the command line"
    if first["type"] == "extra_forbidden":
        near = _nearest(key, keys(model))
        remedy = f"did you mean {near!r}?" if near else f"known keys: {', '.join(keys(model))}"
        return UsageError(f"unknown configuration key {key!r}", where=where, remedy=remedy)
    if first["type"] == "missing":
        return UsageError(f"configuration key {key!r} is missing", where=where, expected=first["msg"])
    return UsageError(f"configuration key {key!r} is wrong", where=where, expected=first["msg"], got=first.get("input"))


def _nearest(key: str, known: list[str]) -> str | None:
    """The known key that ``key`` most likely means: its abbreviation (learning_rate, lr), else the closest spelling."""
    parent, _, last = key.rpartition(".")
    short = f"{parent}.{''.join(word[:1] for word in last.split('_'))}".removeprefix(".")
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return short if short in known else near[0] if near else None
