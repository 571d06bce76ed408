"""The one record type, from reader to trainer: one image with its organs, findings and questions.

Conventions that hold everywhere in medclm:

* ``box_xyxy`` is ``(x1, y1, x2, y2)`` in pixels of the untouched image: x to the right, y down, origin at the outer
  corner of the first pixel, x2 and y2 exclusive.
* ``size_hw`` is (height, width) in pixels; ``spacing_mm`` is millimetres between pixel centres.
* left and right are the *patient's*.
* masks are COCO run-length strings (``pycocotools`` compressed counts, column-major) of the image's size.
"""

from __future__ import annotations

import builtins
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA_VERSION = 3

BoxXyxy = tuple[float, float, float, float]
Side = Literal["left", "right", "bilateral", "midline"]
Zone = Literal["upper", "middle", "lower"]
Split = Literal["train", "validate", "test"]
QuestionType = Literal[
    "what", "organ", "side", "zone", "is-there", "how-many", "which-is-larger", "attribute", "which-organ", "view",
    "body-part", "size", "relation", "is-normal", "knowledge", "follow-up", "vqa",
]  # fmt: skip
"""``vqa`` is a question that a plain VQA source brought with it."""

TWO_PICTURES: frozenset[QuestionType] = frozenset({"follow-up"})
"""Questions about the image and its prior: a model that is shown one picture is neither taught nor asked them."""

UNCLEAR = "unclear"
"""Host organ of a finding that no admissible organ covers enough."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Window(_Model):
    """Display window in modality units (Hounsfield units for CT). DICOM PS3.3 C.11.2."""

    center: float
    width: float = Field(gt=0)
    name: str = ""
    """The CT preset it is (``lung``, ``bone`` …); empty for the file's own window and for one made from the pixels."""


class Image(_Model):
    """The picture as rendered for display, 8 bits, encoded. ``window`` says which grey values it shows."""

    bytes: builtins.bytes = Field(repr=False)
    format: Literal["png", "jpeg"]
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    window: Window | None = None


class Spacing(_Model):
    """Millimetres between the centres of neighbouring rows and of neighbouring columns."""

    row: float = Field(gt=0)
    col: float = Field(gt=0)


class Source(_Model):
    """Where the image came from.

    Attributes:
        uri: the file, any fsspec address.
        reader: the annotation reader's name.
        sha256: hash of the file's bytes, hex; empty until it was read.
        frame: 0-based frame of a multi-frame file, or slice of a volume file along its third axis; None for a file
            with one picture.
        volume: the volume that a slice belongs to: a NIfTI or NRRD file, or the folder of one DICOM series; empty for
            a picture that stands alone.
        display: how stored pixels were turned for radiological display (:class:`medclm.data.display.Display`);
            empty where they were left as stored.
    """

    uri: str
    reader: str
    sha256: str = ""
    frame: int | None = None
    volume: str = ""
    display: str = ""


class Organ(_Model):
    """One organ seen in the image. ``name`` is of the vocabulary in :mod:`medclm.data.anatomy`."""

    name: str
    side: Side | None = None
    box_xyxy: BoxXyxy
    area_px: int = Field(gt=0)
    rle: str = Field(repr=False)
    source: str


class Finding(_Model):
    """One lesion. ``coverage`` is the share of the lesion that lies in ``organ``, 0 to 1 (METHOD section 1)."""

    id: str
    label: str
    label_raw: str
    box_xyxy: BoxXyxy
    mask_rle: str | None = Field(default=None, repr=False)
    organ: str | None = None
    organ_path: tuple[str, ...] = ()
    side: Side | None = None
    zone: Zone | None = None
    coverage: float | None = Field(default=None, ge=0, le=1)
    size_mm: float | None = Field(default=None, gt=0)
    attributes: dict[str, str] = Field(default_factory=dict)
    source: str = ""

    @field_validator("box_xyxy")
    @classmethod
    def _ordered(cls, box: BoxXyxy) -> BoxXyxy:
        x1, y1, x2, y2 = box
        if not (x1 < x2 and y1 < y2):
            raise ValueError(f"box_xyxy needs x1 < x2 and y1 < y2, got {box}")
        return box


class Step(_Model):
    """One step of a rationale with the region that shows it, where a region does.

    ``facts`` are ids of the knowledge base (:mod:`medclm.data.knowledge`) that the sentence rests on.
    """

    step: str
    text: str
    box_xyxy: BoxXyxy | None = None
    facts: tuple[str, ...] = ()


class Question(_Model):
    """A question about the image, its answer and the reasoning that leads there.

    ``difficulty``: 1 is read off the picture, 2 needs one inference (an organ, a side, a size), 3 several (comparison,
    count, knowledge, change over time). ``generator`` says who worded it: ``template``, ``source`` (a VQA dataset) or
    a rewording engine with its model.
    """

    id: str
    type: QuestionType
    question: str
    answer: str
    closed: bool
    choices: tuple[str, ...] | None = None
    difficulty: int = Field(default=1, ge=1, le=3)
    reasoning: tuple[Step, ...] = ()
    finding_ids: tuple[str, ...] = ()
    generator: str = "template"
    checks: tuple[str, ...] = ()


class Prior(_Model):
    """An earlier image of the same patient and view. ``days`` lie between the two; None where no dates are known.

    Boxes are in pixels of the prior's own picture. ``spacing_mm`` is that picture's.
    """

    image_id: str
    uri: str
    frame: int | None = None
    days: int | None = Field(default=None, ge=0)
    image: Image | None = None
    spacing_mm: Spacing | None = None
    findings: tuple[Finding, ...] = ()


class Record(_Model):
    """One image and all that is known of it. A reader fills identity, source and findings; the pipeline the rest.

    ``labels`` are findings known of the whole image without a place, ``labels_absent`` those known not to be there
    (both as :func:`medclm.data.anatomy.finding_name` names them, raw text where it does not know them).
    ``body_part`` is chest, abdomen, head, neck or pelvis, "" where the source does not say.
    ``study_day`` counts days from the patient's first study; dates themselves never enter a record.
    """

    image_id: str = Field(min_length=1)
    patient_id: str = Field(min_length=1)
    study_id: str = ""
    dataset: str
    split: Split | None = None
    modality: str = ""
    plane: str = ""
    view: str = ""
    body_part: str = ""
    image: Image | None = None
    spacing_mm: Spacing | None = None
    source: Source
    organs: tuple[Organ, ...] = ()
    findings: tuple[Finding, ...] = ()
    labels: tuple[str, ...] = ()
    labels_absent: tuple[str, ...] = ()
    study_day: int | None = Field(default=None, ge=0)
    prior: Prior | None = None
    questions: tuple[Question, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        ids = [finding.id for finding in self.findings]
        if len(ids) != len(set(ids)):
            raise ValueError(f"finding ids repeat in image {self.image_id!r}: {ids}")
        if self.image is not None:
            for finding in self.findings:
                x1, y1, x2, y2 = finding.box_xyxy
                if x1 < 0 or y1 < 0 or x2 > self.image.width or y2 > self.image.height:
                    raise ValueError(
                        f"box {finding.box_xyxy} of finding {finding.id!r} is outside the "
                        f"{self.image.width} x {self.image.height} picture"
                    )
        unknown = {i for question in self.questions for i in question.finding_ids} - set(ids)
        if unknown:
            raise ValueError(f"questions of image {self.image_id!r} refer to unknown findings {sorted(unknown)}")
        return self

    @property
    def single_picture_questions(self) -> tuple[Question, ...]:
        """The questions that this picture answers without its prior."""
        return tuple(question for question in self.questions if question.type not in TWO_PICTURES)

    def domain(self, finding: Finding) -> str:
        """The scheduler's domain of a finding: ``finding/modality`` (METHOD section 3)."""
        return f"{finding.label}/{self.modality or 'unknown'}"
