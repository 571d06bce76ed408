"""The settings of ``medclm data build``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medclm.config.base import Config
from medclm.data.records import QuestionType
from medclm.data.rewrite.config import RewordConfig


class BuildConfig(Config):
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
    segmenter: str = ""
    """``NAME[:ARGUMENT]``, e.g. ``masks:DIR``, ``unet:phantom``, ``none``. Must be named where the format has boxes."""
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
    layout: Literal["auto", "together", "apart"] = "auto"
    """``together``: each actor decodes, segments and annotates, and pixels stay in it. ``apart``: a stage each, so that
    others feed the segmenters. ``auto``: apart where the segmenters have GPUs."""
    segmenter_actors: int = Field(1, ge=1)
    """Actors that hold a segmenter; ``together`` there are as many as both numbers say."""
    annotator_actors: int = Field(1, ge=1)
    num_gpus: float | None = None
    """GPUs a segmenter actor reserves; 1 where the cluster has any and this is not set."""
    max_failed_share: float = Field(0.05, ge=0, le=1)
    """The job fails when more than this share of the images is set aside."""
