"""One image's way through the build, without Ray: decode, link, ask, verify. Pipeline stages call these on batches."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from medclm import storage
from medclm.data import images, link, questions, verify
from medclm.data.privacy import pseudonymise, pseudonymise_reject
from medclm.data.questions import Catalogue
from medclm.data.records import Image, Record, Window
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
    """

    record: Record
    values: np.ndarray = field(default_factory=_nothing)
    shown: np.ndarray = field(default_factory=_nothing)
    window: Window | None = None
    reject: Reject | None = None


def decode_record(record: Record, window: str) -> Decoded:
    """Reads, decodes and renders the image of ``record``; bad input comes back as a reject."""
    try:
        data = storage.read_bytes(record.source.uri)
        picture = images.read_picture(data, record.source.uri)
        shown, used = images.render(picture, window)
    except MedclmError as error:
        return Decoded(record, reject=aside(record, "unreadable-image", str(error)))
    if picture.left_on_right is False:
        problem = "the patient's left is on the picture's left: not radiological display, sides would be wrong"
        return Decoded(record, reject=aside(record, "flipped", problem))
    height, width = shown.shape[:2]
    for finding in record.findings:
        if finding.box_xyxy[2] > width or finding.box_xyxy[3] > height:
            problem = f"box {finding.box_xyxy} of {finding.id} is outside the {width} x {height} picture"
            return Decoded(record, reject=aside(record, "box-outside", problem))
    spacing = record.spacing_mm or picture.spacing_mm
    source = record.source.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    update = {
        "source": source,
        "spacing_mm": spacing,
        "modality": record.modality or picture.modality,
        "plane": record.plane or picture.plane,
        "view": record.view or picture.view,
    }
    return Decoded(record.model_copy(update=update), _bright_high(picture, shown), shown, used)


def aside(record: Record, reason: RejectReason, detail: str) -> Reject:
    """The reject of a whole image."""
    return Reject(image_id=record.image_id, where=record.source.uri, reason=reason, detail=detail)


def _bright_high(picture: images.Picture, shown: np.ndarray) -> np.ndarray:
    """Grey values as float32 in which brighter on the screen is higher, so that "brighter" means what a reader sees."""
    if picture.is_color:
        return shown.mean(axis=2, dtype=np.float32)
    return -picture.values if picture.inverted else picture.values


class Annotate:
    """Actor: links, explains, asks and verifies. Holds nothing but its settings.

    Columns out: index, record (JSON with organs, findings, questions; "" when it was set aside), png, rejects (list
    of JSON).
    """

    def __init__(
        self,
        catalogue: Catalogue,
        asking: dict[str, Any],
        min_coverage: float = 0.5,
        linking: str = "coverage",
        key: bytes | None = None,
        hash_image_ids: bool = False,
    ) -> None:
        """``asking``: seed, limit, choices_share and types of :func:`medclm.data.questions.ask`. ``key``: of the
        hashes that ids become (:mod:`medclm.data.privacy`); None keeps the ids."""
        self.catalogue, self.asking = catalogue, asking
        self.min_coverage, self.linking = min_coverage, linking
        self.key, self.hash_image_ids = key, hash_image_ids

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = [self._row(batch, i) for i in range(len(batch["index"]))]
        return {
            "index": batch["index"],
            "record": [row[0] for row in rows],
            "png": [row[1] for row in rows],
            "rejects": [[reject.model_dump_json() for reject in row[2]] for row in rows],
        }

    def _row(self, batch: dict[str, Any], i: int) -> tuple[str, bytes, list[Reject]]:
        record = Record.model_validate_json(batch["record"][i])
        if batch["reject"][i]:
            return "", b"", [self._anonymous(Reject.model_validate_json(batch["reject"][i]), record)]
        shape = json.loads(batch["shape"][i])
        shown = np.frombuffer(batch["shown"][i], np.uint8).reshape(shape)
        values = np.frombuffer(batch["values"][i], np.float32).reshape(shape[:2])
        window = Window.model_validate_json(batch["window"][i]) if batch["window"][i] else None
        png = images.encode_png(shown)
        image = Image(bytes=png, format="png", width=shape[1], height=shape[0], window=window)
        masks = unpack_masks(json.loads(batch["organs"][i]), batch["masks"][i], (shape[0], shape[1]))
        try:
            done = self.linked(record.model_copy(update={"image": image}), values, masks, batch["segmenter"][i])
        except ValidationError as error:
            return "", b"", [self._anonymous(aside(record, "row-failed", str(error)), record)]
        done, lost = self.asked(done, bool(batch["complete"][i]))
        lost = [self._anonymous(reject, record) for reject in lost]
        if self.key is not None:
            done = pseudonymise(done, self.key, self.hash_image_ids)
        return done.model_dump_json(exclude={"image": {"bytes"}, "prior": {"image": {"bytes"}}}), png, lost

    def _anonymous(self, reject: Reject, record: Record) -> Reject:
        return reject if self.key is None else pseudonymise_reject(reject, self.key, record, self.hash_image_ids)

    def linked(self, record: Record, values: np.ndarray, masks: link.Masks, segmenter: str) -> Record:
        """``record`` with its organs and its findings linked; ``masks`` are (height, width) bool by organ name."""
        organs = link.with_parents(masks)
        frontal = record.plane == "frontal"
        scene = link.Scene(values, organs, record.spacing_mm, frontal, self.min_coverage, self.linking)
        update = {
            "organs": link.organ_entries(organs, segmenter),
            "findings": tuple(link.link(finding, scene) for finding in record.findings),
        }
        return Record.model_validate({**dict(record), **update})

    def asked(self, record: Record, complete: bool) -> tuple[Record, list[Reject]]:
        """``record`` with the questions that pass every check, and the others as rejects."""
        kept, lost = [], []
        drafts = questions.ask(record, self.catalogue, complete=complete, **self.asking)
        for question in drafts:
            checks, problem = verify.check(record, question)
            if problem:
                reject = aside(record, "question-failed", problem)
                lost.append(reject.model_copy(update={"question": question}))
            else:
                kept.append(question.model_copy(update={"checks": checks}))
        return record.model_copy(update={"questions": tuple(kept)}), lost


def pack_masks(masks: link.Masks) -> bytes:
    """(H, W) bool masks of one size, in the order of their names, as one bit a pixel without gaps."""
    return np.packbits(np.stack([masks[name] for name in sorted(masks)])).tobytes() if masks else b""


def unpack_masks(names: list[str], packed: bytes, size_hw: tuple[int, int]) -> link.Masks:
    """The inverse of :func:`pack_masks`; ``names`` are sorted."""
    shape = (len(names), *size_hw)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=int(np.prod(shape)))
    return dict(zip(names, bits.view(bool).reshape(shape), strict=True))


def assemble(batch: dict[str, Any], row: int) -> tuple[Record | None, list[Reject]]:
    """The finished record of one row of :class:`Annotate`'s output (None when it was set aside) and its rejects."""
    lost = [Reject.model_validate_json(text) for text in batch["rejects"][row]]
    if not batch["record"][row]:
        return None, lost
    document = json.loads(batch["record"][row])
    document["image"]["bytes"] = batch["png"][row]
    return Record.model_validate(document), lost
