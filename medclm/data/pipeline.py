"""The build: a detection dataset streams through Ray Data and becomes a built dataset directory.

::

    plan ─> decode (tasks) ─> Segment (actors, GPU) ─> Annotate (actors) ─> shard_rows rows a block ─> publish (tasks)

Every planned image ends as exactly one row: good, or set aside with a reason. Order is kept, so a shard's content is a
function of its index alone; shards that have a receipt are skipped when a build is run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from medclm import __version__, session, storage
from medclm.config import BuildConfig
from medclm.data import card, shards
from medclm.data.annotate import Annotate, aside, assemble, decode_record
from medclm.data.boxes import encode_rle
from medclm.data.questions import Catalogue
from medclm.data.readers.coco import read_coco
from medclm.data.records import Record
from medclm.data.rejects import Reject
from medclm.data.segmenters import check_segmenter, make_segmenter
from medclm.errors import MedclmError, UsageError

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

Batch = Any
"""A Ray Data batch: column name to array; what a stage returns may hold lists too."""

DECODE_MEMORY = 512 * 2**20
"""Bytes a decoding task reserves. It also keeps Ray from fusing decoding into the segmenter's actors."""

_NOT_CONTENT = {"out", "batch_size", "segmenter_actors", "annotator_actors", "num_gpus", "max_failed_share"}
"""Config keys that do not change what a build writes."""


def build(config: BuildConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Builds the dataset of ``config`` and returns its manifest; continues where an earlier, killed build stopped.

    Raises:
        UsageError: inputs are missing, the segmenter is unknown, or ``out`` holds a build of another configuration.
        MedclmError: more than ``config.max_failed_share`` of the images were set aside.
    """
    check_segmenter(config.segmenter)  # a misspelt name or missing weights fail here, not in an actor
    name = config.dataset or config.annotations.rstrip("/").split("/")[-1].split(".")[0]
    found = read_coco(config.images, config.annotations, name)
    if not found.records:
        raise MedclmError("no image of the dataset can be used", where=config.annotations, got=_reasons(found.rejects))
    records = [_with_split(record, config) for record in found.records]
    description = _describe(config)
    _claim(config.out, description)
    total = -(-len(records) // config.shard_rows)
    done = shards.finished_shards(config.out)
    todo = [index for index in range(total) if index not in done]
    if todo:
        shards.write_rejects(config.out, "reader", found.rejects)
        with session.ray_session():
            _stream(config, records, found.incomplete, todo, progress)
    manifest = shards.write_manifest(config.out, {**description, "reader_rejects": _reasons(found.rejects)})
    card.write_card(config.out, manifest)
    _check_failed_share(manifest, found.rejects, len(records), config)
    return manifest


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


def _describe(config: BuildConfig) -> dict[str, Any]:
    content = {key: value for key, value in config.model_dump(mode="json").items() if key not in _NOT_CONTENT}
    annotations = hashlib.sha256(storage.read_bytes(config.annotations)).hexdigest()
    what = {"config": content, "annotations_sha256": annotations, "medclm_version": __version__}
    return {**what, "fingerprint": storage.fingerprint(what)}


def _claim(out: str, description: dict[str, Any]) -> None:
    """Writes build.json, or checks that the one that is there is of the same build."""
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
            got=f"different: {', '.join(changed) or 'the annotations or the medclm version'}",
            remedy="choose another --out, or delete this one",
        )


def _reasons(rejects: list[Reject]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reject in rejects:
        counts[reject.reason] = counts.get(reject.reason, 0) + 1
    return dict(sorted(counts.items()))


def _check_failed_share(manifest: dict[str, Any], rejects: list[Reject], records: int, config: BuildConfig) -> None:
    lost = manifest["rejected_images"] + sum(reject.whole_image for reject in rejects)
    seen = records + sum(reject.whole_image for reject in rejects)
    if lost > config.max_failed_share * seen:
        raise MedclmError(
            f"{lost} of {seen} images were set aside",
            where=storage.join(config.out, "rejected"),
            expected=f"at most {config.max_failed_share:.0%}",
            got={**manifest["rejected"], **manifest["build"]["reader_rejects"]},
            remedy="mend the input, or raise max_failed_share; the good rows are kept",
        )


def _stream(
    config: BuildConfig, records: list[Record], incomplete: frozenset[str], todo: list[int], progress: Progress | None
) -> None:
    """Runs the shards ``todo`` through Ray Data; the driver sees one small row a shard."""
    import ray

    gpus = config.num_gpus if config.num_gpus is not None else float(session.has_gpus())
    _check_room(ray.cluster_resources(), config, gpus)
    rows = config.shard_rows
    planned = [index for shard in todo for index in range(shard * rows, min((shard + 1) * rows, len(records)))]
    plan = pa.table(
        {
            "index": planned,
            "record": [records[index].model_dump_json() for index in planned],
            "complete": [records[index].image_id not in incomplete for index in planned],
        }
    )
    catalogue = Catalogue.of(records)
    actors = ray.data.ActorPoolStrategy
    with session.ordered_data():
        receipts = (
            ray.data.from_arrow([plan.slice(at, config.batch_size) for at in range(0, len(planned), config.batch_size)])
            .map_batches(partial(decode, window=config.window), batch_size=config.batch_size, memory=DECODE_MEMORY)
            .map_batches(
                Segment,
                fn_constructor_kwargs={"spec": config.segmenter},
                compute=actors(size=config.segmenter_actors),
                batch_size=config.batch_size,
                num_gpus=gpus or None,
            )
            .map_batches(
                Annotate,
                fn_constructor_kwargs={
                    "catalogue": catalogue,
                    "seed": config.seed,
                    "max_questions": config.max_questions,
                    "min_coverage": config.min_coverage,
                    "linking": config.linking,
                },
                compute=actors(size=config.annotator_actors),
                batch_size=config.batch_size,
            )
            .repartition(target_num_rows_per_block=rows, strict=True)
            .map_batches(partial(publish, out=config.out, shard_rows=rows), batch_size=None)
        )
        finished = len(records) - len(planned)
        for receipt in receipts.iter_rows():
            finished += receipt["images"]
            if progress:
                progress(finished, len(records))


def _check_room(resources: dict[str, float], config: BuildConfig, gpus: float) -> None:
    """A cluster too small for the actors would wait for ever."""
    needed = config.annotator_actors + 1 + (config.segmenter_actors if not gpus else 0)
    if resources.get("CPU", 0) < needed:
        raise UsageError(
            "the cluster has too few CPUs for this build",
            expected=f"{needed} (one an actor, one to decode)",
            got=resources.get("CPU", 0),
            remedy="lower segmenter_actors or annotator_actors",
        )
    if gpus and resources.get("GPU", 0) < gpus * config.segmenter_actors:
        raise UsageError(
            "the cluster has too few GPUs for this build",
            expected=gpus * config.segmenter_actors,
            got=resources.get("GPU", 0),
            remedy="lower segmenter_actors or num_gpus",
        )


def decode(batch: Batch, window: str) -> Batch:
    """Reads and renders the images of a batch; pixels travel on as raw bytes beside their shape.

    Columns out: index, record (JSON), complete, reject (JSON, or "" for a good row), values (float32 bytes, bright is
    high), shown (uint8 bytes), shape (JSON), window (JSON or "").
    """
    rows = [decode_record(Record.model_validate_json(text), window) for text in batch["record"]]
    return {
        "index": batch["index"],
        "complete": batch["complete"],
        "record": [row.record.model_dump_json() for row in rows],
        "reject": [row.reject.model_dump_json() if row.reject else "" for row in rows],
        "values": pa.array([row.values.tobytes() for row in rows], pa.large_binary()),
        "shown": pa.array([row.shown.tobytes() for row in rows], pa.large_binary()),
        "shape": [json.dumps(row.shown.shape) for row in rows],
        "window": [row.window.model_dump_json() if row.window else "" for row in rows],
    }


class Segment:
    """Actor: organ masks of a batch of pictures. The model is loaded once an actor.

    Column added: ``organs``, JSON of {organ name: run-length string}.
    """

    def __init__(self, spec: str) -> None:
        self.segmenter = make_segmenter(spec)

    def __call__(self, batch: Batch) -> Batch:
        good = [i for i, reject in enumerate(batch["reject"]) if not reject]
        pictures = [as_array(batch["shown"][i], batch["shape"][i]) for i in good]
        ids = [json.loads(batch["record"][i])["image_id"] for i in good]
        rejects = list(batch["reject"])
        organs = [""] * len(batch["index"])
        for i, masks in zip(good, self._masks(pictures, ids), strict=True):
            if isinstance(masks, MedclmError):
                record = Record.model_validate_json(batch["record"][i])
                rejects[i] = aside(record, "segmenter-failed", str(masks)).model_dump_json()
            else:
                organs[i] = json.dumps({name: encode_rle(mask) for name, mask in sorted(masks.items())})
        return {**batch, "reject": rejects, "organs": organs, "segmenter": [self.segmenter.name] * len(organs)}

    def _masks(self, pictures: list[np.ndarray], ids: list[str]) -> list:
        """Masks a picture, or the error of that picture; one bad picture does not cost the batch."""
        try:
            return self.segmenter(pictures, ids)
        except MedclmError as error:
            if len(pictures) == 1:
                return [error]
            return [self._masks([picture], [image_id])[0] for picture, image_id in zip(pictures, ids, strict=True)]


def as_array(data: bytes, shape: str, dtype: type = np.uint8) -> np.ndarray:
    """A read-only view of raw bytes as an array; ``shape`` is JSON."""
    return np.frombuffer(data, dtype).reshape(json.loads(shape))


def publish(batch: Batch, out: str, shard_rows: int) -> Batch:
    """Writes one shard; a block is exactly one shard's rows, in order.

    Raises:
        MedclmError: the block holds rows of several shards (Ray broke the order).
    """
    index = [int(i) for i in batch["index"]]
    shard = index[0] // shard_rows
    if index != list(range(shard * shard_rows, shard * shard_rows + len(index))):
        raise MedclmError("a block is not one shard", expected=f"rows of shard {shard} in order", got=index[:20])
    records, rejects = [], []
    for row in range(len(index)):
        record, lost = assemble(batch, row)
        records += [record] if record else []
        rejects += lost
    shards.write_shard(out, shard, records, rejects)
    return {"shard": [shard], "images": [len(index)]}
