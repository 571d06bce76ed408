"""From a planned record to its pixels: read, decode, render, turn for display; bad input comes back as rejects."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from medclm.data import images, overlay_text, readers
from medclm.data.display import Display, turned, turned_organ
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
        picture, sha256 = _picture(record.source.uri, record.source.frame, record.source.reader, record.modality)
        shown, used = images.render(picture, window)
    except MedclmError as error:
        return Decoded(record, reject=aside(record, "unreadable-image", str(error)))
    if not keep_text and picture.burned_in:
        problem = "Burned In Annotation (0028,0301) is YES: the pixels may show who the patient is"
        return Decoded(record, reject=aside(record, "burned-in-text", problem))
    if not keep_text and (lines := overlay_text.text_lines(shown)):
        at = ", ".join(f"{value:.0f}" for value in lines[0])
        problem = f"{len(lines)} lines of text in the pixels, the first at [{at}]: they may show who the patient is"
        return Decoded(record, reject=aside(record, "burned-in-text", problem))
    display = picture.display or Display()
    findings, lost = _on_display(record, record.findings, display, picture.size_hw)
    try:
        organs = tuple(turned_organ(organ, display, picture.size_hw) for organ in record.organs)
    except ValueError as error:
        return Decoded(record, reject=aside(record, "size-mismatch", f"an organ's mask: {error}"))
    source = {"sha256": sha256, "display": display.text}
    update = {
        "source": record.source.model_copy(update=source),
        "spacing_mm": display.spacing(record.spacing_mm or picture.spacing_mm),
        "modality": record.modality or picture.modality,
        "plane": record.plane or picture.plane,
        "view": record.view or picture.view,
        "findings": findings,
        "organs": organs,
        "prior": _with_picture(record, record.prior, window, keep_text) if record.prior else None,
    }
    values = np.ascontiguousarray(_bright_high(picture, shown, display))
    return Decoded(record.model_copy(update=update), values, shown, used, lost=lost)


def _on_display(
    record: Record, findings: tuple[Finding, ...], display: Display, size_hw: tuple[int, int]
) -> tuple[tuple[Finding, ...], tuple[Reject, ...]]:
    """Findings inside the stored picture of ``size_hw``, clipped by at most a pixel and turned; rejects of the rest."""
    kept, lost = [], []
    for finding in findings:
        try:
            box, _ = checked_box(finding.box_xyxy, size_hw)
            inside = finding if box == finding.box_xyxy else finding.model_copy(update={"box_xyxy": box})
            kept.append(turned(inside, display, size_hw))
        except (Refused, ValueError) as error:
            why = error if isinstance(error, Refused) else Refused("bad-segmentation", str(error))
            reject = aside(record, why.reason, why.detail)
            lost.append(reject.model_copy(update={"finding_id": finding.id}))
    return tuple(kept), tuple(lost)


def _picture(uri: str, frame: int | None, reader: str, modality: str) -> tuple[images.Picture, str]:
    """The decoded file and the SHA-256 of its bytes.

    Values of a raster image that a dataset stores with an offset become Hounsfield units. ``modality`` is the record's,
    for files that do not say theirs.
    """
    picture, sha256 = images.read_file(uri, frame)
    offset = readers.hu_offset(reader)
    if offset is None or picture.file_format == "dicom" or picture.is_color:
        return dataclasses.replace(picture, modality=picture.modality or modality), sha256
    values = picture.values + np.float32(offset)
    return dataclasses.replace(picture, values=values, modality="CT", rescaled=True), sha256


def _with_picture(record: Record, prior: Prior, window: str, keep_text: bool) -> Prior | None:
    """The prior as displayed, with its picture and spacing; None where it is set aside (its own row says why)."""
    try:
        picture, _ = _picture(prior.uri, prior.frame, record.source.reader, record.modality)
        shown, used = images.render(picture, window)
    except MedclmError:
        return None
    if not keep_text and (picture.burned_in or overlay_text.text_lines(shown)):
        return None
    height, width = shown.shape[:2]
    image = Image(bytes=images.encode_png(shown), format="png", width=width, height=height, window=used)
    display = picture.display or Display()
    findings, _ = _on_display(record, prior.findings, display, picture.size_hw)
    spacing = display.spacing(prior.spacing_mm or picture.spacing_mm)
    return prior.model_copy(update={"image": image, "spacing_mm": spacing, "findings": findings})


def aside(record: Record, reason: RejectReason, detail: str) -> Reject:
    """The reject of a whole image."""
    return Reject(image_id=record.image_id, where=record.source.uri, reason=reason, detail=detail)


def _bright_high(picture: images.Picture, shown: np.ndarray, display: Display) -> np.ndarray:
    """Displayed grey values, float32, in which brighter on the screen is higher: "brighter" is what a reader sees."""
    if picture.is_color:
        return shown.mean(axis=2, dtype=np.float32)
    return display.apply(-picture.values if picture.inverted else picture.values)
