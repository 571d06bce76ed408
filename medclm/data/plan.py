"""The plan of a build: which images become rows, in which order and split, and the fingerprint of what makes them.

Only annotations and folder listings are read here; pixels are read by the stages, in parallel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from medclm import __version__, storage
from medclm.config import BuildConfig
from medclm.data import harmonise, knowledge, readers
from medclm.data.priors import with_priors
from medclm.data.questions import Catalogue
from medclm.data.readers.base import stem
from medclm.data.records import Record
from medclm.data.rejects import Reject
from medclm.data.rewrite.config import NOT_CONTENT as REWORD_NOT_CONTENT
from medclm.errors import MedclmError, UsageError

NOT_CONTENT = {
    "out", "images", "mask_cache", "batch_size", "segmenter_actors", "annotator_actors", "num_gpus", "max_failed_share",
    "annotations", "id_key_file", "layout",
}  # fmt: skip
"""Config keys that do not change what a build writes, or whose effect shows in the planned rows."""


@dataclass(frozen=True)
class Plan:
    """What a build will do.

    Attributes:
        rows: (JSON of a record without pixels, whether its absences may be asked about), in the order of the input.
        catalogue: of the whole dataset.
        rejects: what the reader set aside.
        notes: what the reader repaired.
        description: what goes into ``build.json``: config, hash of the planned rows, versions, and their fingerprint.
    """

    rows: list[tuple[str, bool]]
    catalogue: Catalogue
    rejects: list[Reject]
    notes: tuple[str, ...]
    description: dict[str, Any]


def make_plan(config: BuildConfig, key_check: str | None = None) -> Plan:
    """Reads the annotations of ``config`` and plans its rows.

    Args:
        key_check: tells the key of the ids from others (:func:`medclm.data.privacy.key_check`); None keeps the ids.

    Raises:
        UsageError: inputs or options are wrong. MedclmError: no image can be used.
    """
    name = config.dataset or stem(config.annotations.rstrip("/"))
    found = readers.read(config.format, config.images, config.annotations, name, config.reader)
    if not found.records:
        raise MedclmError("no image of the dataset can be used", where=config.annotations, got=reasons(found.rejects))
    compare = not config.question_types or "follow-up" in config.question_types
    planned = with_priors(found.records, found.incomplete) if compare else found.records
    records = [_with_split(record, config) for record in planned]
    rows = [(record.model_dump_json(), record.image_id not in found.incomplete) for record in records]
    description = _describe(config, rows, key_check)
    return Plan(rows, Catalogue.of(records), found.rejects, found.notes, description)


def _with_split(record: Record, config: BuildConfig) -> Record:
    if record.split is not None:
        return record
    return record.model_copy(update={"split": split_of(record.patient_id, config.split, config.seed)})


def split_of(patient_id: str, shares: dict[str, float], seed: int) -> str:
    """The split of a patient: a hash of (seed, patient) on the cumulated shares, so a patient is never in two."""
    digest = hashlib.sha256(f"{seed}/{patient_id}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares.values())
    for name, share in shares.items():
        point -= share
        if point < 0:
            return name
    return next(reversed(shares))


def _describe(config: BuildConfig, rows: list[tuple[str, bool]], key_check: str | None) -> dict[str, Any]:
    content = {key: value for key, value in config.model_dump(mode="json").items() if key not in NOT_CONTENT}
    content["reword"] = config.reword.model_dump(mode="json", exclude=REWORD_NOT_CONTENT)
    digest = hashlib.sha256()
    for row, complete in rows:
        digest.update(f"{row}{complete:d}\n".encode())
    knowing = {"knowledge_sha256": knowledge.content_hash(), "labels_sha256": harmonise.content_hash()}
    what = {"config": content, "rows_sha256": digest.hexdigest(), "id_key_check": key_check}
    what |= {**knowing, "medclm_version": __version__}
    return {**what, "fingerprint": storage.fingerprint(what)}


def claim(out: str, description: dict[str, Any]) -> None:
    """Writes ``out/build.json``, or checks that the one that is there is of the same build.

    Raises:
        UsageError: the directory holds a build of another configuration or of other annotations.
    """
    path = storage.join(out, "build.json")
    if not storage.exists(path):
        storage.publish_json(path, description)
        return
    there = storage.read_json(path)
    if there["fingerprint"] != description["fingerprint"]:
        before, now = there["config"], description["config"]
        changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        raise UsageError(
            "the directory holds a dataset of another build",
            where=out,
            got=f"different: {', '.join(changed) or 'the annotations, the key of the ids or the medclm version'}",
            remedy="choose another --out, or delete this one",
        )


def reasons(rejects: list[Reject]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reject in rejects:
        counts[reject.reason] = counts.get(reject.reason, 0) + 1
    return dict(sorted(counts.items()))
