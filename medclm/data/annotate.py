"""One decoded image's way to a finished row, without Ray: link, ask, verify, hide the ids."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from medclm.data import boxes, derive, link, questions, verify
from medclm.data.batches import Batch, rows_of, unpack_masks
from medclm.data.decode import aside
from medclm.data.privacy import pseudonymise, pseudonymise_reject
from medclm.data.questions import Catalogue
from medclm.data.records import Image, Organ, Prior, Record, Window
from medclm.data.rejects import Reject


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

    def __call__(self, table: pa.Table) -> Batch:
        batch = rows_of(table)
        rows = [self._row(batch, i) for i in range(len(batch["index"]))]
        return {
            "index": batch["index"],
            "record": [row[0] for row in rows],
            "png": pa.array([row[1] for row in rows], pa.large_binary()),
            "rejects": [[reject.model_dump_json() for reject in row[2]] for row in rows],
        }

    def _row(self, batch: Batch, i: int) -> tuple[str, bytes, list[Reject]]:
        record = Record.model_validate_json(batch["record"][i])
        if batch["reject"][i]:
            return "", b"", [self._anonymous(Reject.model_validate_json(batch["reject"][i]), record)]
        shape = json.loads(batch["shape"][i])
        values = np.frombuffer(batch["values"][i], np.float32).reshape(shape[:2])
        window = Window.model_validate_json(batch["window"][i]) if batch["window"][i] else None
        png = bytes(batch["png"][i])
        image = Image(bytes=png, format="png", width=shape[1], height=shape[0], window=window)
        size_hw = (shape[0], shape[1])
        masks = unpack_masks(json.loads(batch["organs"][i]), batch["masks"][i], size_hw)
        masks |= {organ.name: boxes.decode_rle(organ.rle, size_hw) for organ in record.organs}  # the reader's win
        try:
            done = self.linked(record.model_copy(update={"image": image}), values, masks, batch["segmenter"][i])
        except ValidationError as error:
            return "", b"", [self._anonymous(aside(record, "row-failed", str(error)), record)]
        done, failed = self.asked(done, bool(batch["complete"][i]))
        lost = [*map(Reject.model_validate_json, batch["lost"][i]), *failed]
        lost = [self._anonymous(reject, record) for reject in lost]
        if self.key is not None:
            done = pseudonymise(done, self.key, self.hash_image_ids)
        return _with_bytes(done, b"").model_dump_json(), png, lost  # the picture has a column of its own

    def _anonymous(self, reject: Reject, record: Record) -> Reject:
        return reject if self.key is None else pseudonymise_reject(reject, self.key, record, self.hash_image_ids)

    def linked(self, record: Record, values: np.ndarray, masks: link.Masks, segmenter: str) -> Record:
        """``record`` with its organs and its findings linked; ``masks`` are (height, width) bool by organ name."""
        sided = record.plane in derive.SIDED_PLANES
        organs = link.with_parents(derive.derived(masks) if sided else masks)
        frontal = record.plane == "frontal"
        scene = link.Scene(
            values, organs, record.spacing_mm, frontal, self.min_coverage, self.linking, shows_sides=sided
        )
        update = {
            "organs": _with_sources(link.organ_entries(organs, segmenter), record.organs),
            "findings": tuple(link.link(finding, scene) for finding in record.findings),
            "prior": _measured(record.prior) if record.prior else None,
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


def _with_sources(organs: tuple[Organ, ...], read: tuple[Organ, ...]) -> tuple[Organ, ...]:
    """``organs``, with the source of those that came with the annotations."""
    sources = {organ.name: organ.source for organ in read}
    return tuple(o.model_copy(update={"source": sources[o.name]}) if o.name in sources else o for o in organs)


def _measured(prior: Prior) -> Prior:
    """The prior with the sizes of its findings, by its own spacing."""
    assert prior.image is not None, "decoding gives a prior its picture, or drops it"
    size_hw = (prior.image.height, prior.image.width)
    sizes = [link.size_mm(f, link.lesion_mask(f, size_hw), prior.spacing_mm) for f in prior.findings]
    findings = [f.model_copy(update={"size_mm": size}) for f, size in zip(prior.findings, sizes, strict=True)]
    return prior.model_copy(update={"findings": tuple(findings)})


def assemble(batch: Batch, row: int) -> tuple[Record | None, list[Reject]]:
    """The finished record of one row of :class:`Annotate`'s output (None when it was set aside) and its rejects."""
    lost = [Reject.model_validate_json(text) for text in batch["rejects"][row]]
    if not batch["record"][row]:
        return None, lost
    record = Record.model_validate_json(batch["record"][row])
    return _with_bytes(record, bytes(batch["png"][row])), lost


def _with_bytes(record: Record, data: bytes) -> Record:
    assert record.image is not None, "an annotated record has a picture"
    return record.model_copy(update={"image": record.image.model_copy(update={"bytes": data})})
