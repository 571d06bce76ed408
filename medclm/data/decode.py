"""From a planned record to its pixels: read, decode, render, turn for display; bad input comes back as rejects."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field

import numpy as np

from medclm import storage
from medclm.data import images, readers
from medclm.data.readers.base import Refused, checked_box
from medclm.data.records import Finding, Image, Prior, Record, Window
from medclm.data.rejects import Reject, RejectReason
from medclm.errors import MedclmError


def _nothing() -> np.ndarray:
    return np.zeros((0, 0), np.uint8)


@dataclass(frozen=True)
class Decoded:
    """A record with its pixels, or the reason why it was set aside.

    Attributes:
        values: (height, width) float32, modality units, bright is high.
        shown: (height, width) or (height, width, 3) uint8, as displayed.
        window: the grey-value window of ``shown``, where it has one.
        reject: why the image cannot be used; then there are no pixels.
        lost: findings that were set aside; the others are kept, and nothing may be concluded from absence.
    """

    record: Record
    values: np.ndarray = field(default_factory=_nothing)
    shown: np.ndarray = field(default_factory=_nothing)
    window: Window | None = None
    reject: Reject | None = None
    lost: tuple[Reject, ...] = ()


def decode_record(record: Record, window: str, keep_text: bool = False) -> Decoded:
    """Reads, decodes and renders the image of ``record``.

    Args:
        window: see :func:`medclm.data.images.render`.
        keep_text: keep pictures that say, or show, that text is burned into them.
    """
    try:
        data = storage.read_bytes(record.source.uri)
        picture = _picture(data, record.source.uri, record.source.frame, record.source.reader)
        shown, used = images.render(picture, window)
    except MedclmError as error:
        return Decoded(record, reject=aside(record, "unreadable-image", str(error)))
    if picture.left_on_right is False:
        problem = "the patient's left is on the picture's left: not radiological display, sides would be wrong"
        return Decoded(record, reject=aside(record, "flipped", problem))
    if not keep_text and picture.burned_in:
        problem = "Burned In Annotation (0028,0301) is YES: the pixels may show who the patient is"
        return Decoded(record, reject=aside(record, "burned-in-text", problem))
    findings, lost = _inside(record, shown.shape[:2])
    update = {
        "source": record.source.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()}),
        "spacing_mm": record.spacing_mm or picture.spacing_mm,
        "modality": record.modality or picture.modality,
        "plane": record.plane or picture.plane,
        "view": record.view or picture.view,
        "findings": findings,
        "prior": _with_picture(record.prior, record.source.reader, window) if record.prior else None,
    }
    return Decoded(record.model_copy(update=update), _bright_high(picture, shown), shown, used, lost=lost)


def _inside(record: Record, size_hw: tuple[int, int]) -> tuple[tuple[Finding, ...], tuple[Reject, ...]]:
    """Findings whose boxes lie in the picture, clipped by at most a pixel, and rejects of the others."""
    kept, lost = [], []
    for finding in record.findings:
        try:
            box, _ = checked_box(finding.box_xyxy, size_hw)
            kept.append(finding if box == finding.box_xyxy else finding.model_copy(update={"box_xyxy": box}))
        except Refused as error:
            reject = aside(record, error.reason, error.detail)
            lost.append(reject.model_copy(update={"finding_id": finding.id}))
    return tuple(kept), tuple(lost)


def _picture(data: bytes, uri: str, frame: int | None, reader: str) -> images.Picture:
    """The decoded file; values of a raster image that a dataset stores with an offset become Hounsfield units."""
    picture = images.read_picture(data, uri, frame)
    offset = readers.hu_offset(reader)
    if offset is None or picture.file_format == "dicom" or picture.is_color:
        return picture
    values = picture.values + np.float32(offset)
    return dataclasses.replace(picture, values=values, modality="CT", rescaled=True)


def _with_picture(prior: Prior, reader: str, window: str) -> Prior | None:
    """The prior with its picture and spacing; None where it cannot be read (its own row says why)."""
    try:
        picture = _picture(storage.read_bytes(prior.uri), prior.uri, prior.frame, reader)
        shown, used = images.render(picture, window)
    except MedclmError:
        return None
    height, width = shown.shape[:2]
    image = Image(bytes=images.encode_png(shown), format="png", width=width, height=height, window=used)
    return prior.model_copy(update={"image": image, "spacing_mm": prior.spacing_mm or picture.spacing_mm})


def aside(record: Record, reason: RejectReason, detail: str) -> Reject:
    """The reject of a whole image."""
    return Reject(image_id=record.image_id, where=record.source.uri, reason=reason, detail=detail)


def _bright_high(picture: images.Picture, shown: np.ndarray) -> np.ndarray:
    """Grey values as float32 in which brighter on the screen is higher, so that "brighter" means what a reader sees."""
    if picture.is_color:
        return shown.mean(axis=2, dtype=np.float32)
    return -picture.values if picture.inverted else picture.values
