"""Shards: a built dataset on disk, one Parquet row per image, described by a manifest that is written last.

::

    DIR/build.json                    what makes the shards: the fingerprint that a resumed build must share
    DIR/shards/shard-00000.parquet    rows [0, shard_rows) of the input that were good; schema record_table.ARROW_SCHEMA
    DIR/rejected/shard-00000.jsonl    what was set aside of the same rows, one JSON object a line, with its reason
    DIR/receipts/shard-00000.json     counts and hashes of the shard; a shard without one is not finished
    DIR/manifest.json                 the whole; a directory without one is not finished

Every file is published atomically and named by its place in the input, so writing one twice changes nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from medclm import __version__, storage
from medclm.data.record_table import from_table, to_table
from medclm.data.records import SCHEMA_VERSION, Record
from medclm.data.rejects import Reject
from medclm.errors import MedclmError, UsageError

ROW_GROUP_ROWS = 32
_MODULUS = 1 << 256


def shard_name(index: int) -> str:
    return f"shard-{index:05d}"


def content_sum(records: list[Record]) -> int:
    """A hash of a set of records that does not depend on their order: the sum of the SHA-256 of each, mod 2**256."""
    return sum(int.from_bytes(_digest(record), "big") for record in records) % _MODULUS


def sum_of_hashes(hashes: list[str]) -> str:
    """The hash of several sets of records together, from their own (64 hexadecimal digits each)."""
    return f"{sum(int(one, 16) for one in hashes) % _MODULUS:064x}"


def _digest(record: Record) -> bytes:
    row = record.model_dump(mode="json", exclude={"image": {"bytes"}, "prior": {"image": {"bytes"}}})
    pictures = (record.image, record.prior.image if record.prior else None)
    row["image_sha256"] = [hashlib.sha256(picture.bytes).hexdigest() if picture else None for picture in pictures]
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()


def write_shard(
    out: str, index: int, records: list[Record], rejects: list[Reject], reworded: dict[str, int] | None = None
) -> dict[str, Any]:
    """Publishes one shard, its rejects and, last, its receipt; returns the receipt.

    Args:
        out: the dataset's directory, any fsspec address.
        index: the shard's place, 0-based.
        records: the good rows, in input order.
        rejects: what was set aside of the same input rows.
        reworded: texts by what became of their rewording, where there was any.
    """
    buffer = io.BytesIO()
    pq.write_table(to_table(records), buffer, row_group_size=ROW_GROUP_ROWS, compression="zstd")
    data = buffer.getvalue()
    name = shard_name(index)
    storage.write_atomic(storage.join(out, "shards", f"{name}.parquet"), data)
    write_rejects(out, name, rejects)
    receipt = {
        "file": f"shards/{name}.parquet",
        "rows": len(records),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "content_sum": f"{content_sum(records):064x}",
        "counts": _counts(records),
        "rejected": dict(Counter(reject.reason for reject in rejects)),
        "rejected_images": sum(reject.whole_image for reject in rejects),
        "reworded": reworded or {},
    }
    storage.publish_json(storage.join(out, "receipts", f"{name}.json"), receipt)
    return receipt


def write_rejects(out: str, name: str, rejects: list[Reject]) -> None:
    """Publishes ``rejected/NAME.jsonl``, one :class:`medclm.data.rejects.Reject` a line."""
    lines = "".join(reject.model_dump_json() + "\n" for reject in rejects)
    storage.write_atomic(storage.join(out, "rejected", f"{name}.jsonl"), lines.encode())


def _counts(records: list[Record]) -> dict[str, dict[str, int]]:
    findings = [finding for record in records for finding in record.findings]
    questions = [question for record in records for question in record.questions]
    return {
        "splits": dict(Counter(record.split or "none" for record in records)),
        "findings": dict(Counter(finding.label for finding in findings)),
        "organs": dict(Counter(finding.organ or "unlinked" for finding in findings)),
        "sides": dict(Counter(finding.side or "none" for finding in findings)),
        "questions": dict(Counter(question.type for question in questions)),
    }


def finished_shards(out: str) -> dict[int, dict[str, Any]]:
    """Receipts of the shards that are complete, by index."""
    files = storage.list_files(storage.join(out, "receipts"), "shard-*.json")
    return {int(file.rsplit("-", 1)[1].removesuffix(".json")): storage.read_json(file) for file in files}


def write_manifest(out: str, build: dict[str, Any]) -> dict[str, Any]:
    """Sums the receipts into ``manifest.json`` and returns it.

    Args:
        build: what made the dataset (fingerprint, config, segmenter, software versions).
    """
    receipts = [receipt for _, receipt in sorted(finished_shards(out).items())]
    counts: dict[str, Counter] = {}
    for receipt in receipts:
        for key, values in receipt["counts"].items():
            counts.setdefault(key, Counter()).update(values)
    rejected: Counter = Counter()
    reworded: Counter = Counter()
    for receipt in receipts:
        rejected.update(receipt["rejected"])
        reworded.update(receipt["reworded"])
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "medclm_version": __version__,
        "build": build,
        "rows": sum(receipt["rows"] for receipt in receipts),
        "content_hash": sum_of_hashes([receipt["content_sum"] for receipt in receipts]),
        "counts": {key: dict(sorted(value.items())) for key, value in sorted(counts.items())},
        "rejected": dict(sorted(rejected.items())),
        "rejected_images": sum(receipt["rejected_images"] for receipt in receipts),
        "reworded": dict(sorted(reworded.items())),
        "shards": [{key: receipt[key] for key in ("file", "rows", "bytes", "sha256")} for receipt in receipts],
    }
    storage.publish_json(storage.join(out, "manifest.json"), manifest)
    return manifest


def read_manifest(directory: str) -> dict[str, Any]:
    """The manifest of a built dataset.

    Raises:
        UsageError: the directory is no finished dataset, or of another schema version.
    """
    path = storage.join(directory, "manifest.json")
    if not storage.exists(path):
        unfinished = storage.exists(storage.join(directory, "build.json"))
        raise UsageError(
            "the dataset is not finished" if unfinished else "this is not a built dataset",
            where=directory,
            expected="a directory with manifest.json",
            remedy="run the same `medclm data build` again: it resumes" if unfinished else "run `medclm data build`",
        )
    manifest = storage.read_json(path)
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(
            "the dataset has another schema version",
            where=path,
            expected=SCHEMA_VERSION,
            got=manifest.get("schema_version"),
            remedy="build it again with this version of medclm",
        )
    return manifest


def parts_of(directory: str) -> list[str]:
    """The built datasets that a joined one names, or the dataset itself (:mod:`medclm.data.join`)."""
    joined = read_manifest(directory)["build"].get("joined")
    return [directory] if joined is None else [part for one in joined for part in parts_of(one)]


def shard_files(directory: str) -> list[str]:
    """Addresses of the Parquet files that the manifest names, in order; those of a joined dataset lie elsewhere."""
    manifest = read_manifest(directory)
    return [storage.join(shard.get("in", directory), shard["file"]) for shard in manifest["shards"]]


def read_records(directory: str, split: str | None = None, limit: int | None = None) -> Iterator[Record]:
    """The records of a built dataset in input order, read one row group at a time.

    Args:
        directory: any fsspec address.
        split: only this split ("train", "validate", "test"); None for all.
        limit: at most this many records.

    Raises:
        UsageError: no finished dataset. MedclmError: a shard is missing or broken.
    """
    left = limit if limit is not None else -1
    for url in shard_files(directory):
        fs, path = storage.open_fs(url)
        try:
            with fs.open(path, "rb") as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    for record in from_table(parquet.read_row_group(group)):
                        if left == 0:
                            return
                        if split is None or record.split == split:
                            left -= 1
                            yield record
        except (OSError, ValueError) as error:
            raise MedclmError(
                "a shard cannot be read",
                where=url,
                got=error,
                remedy="delete its receipt in receipts/ and manifest.json, then run `medclm data build` again",
            ) from error
