"""Several built datasets as one: a directory whose manifest names the shards of the others, where they lie.

For a training set that was built in parts side by side, and for detection rows beside plain VQA rows, which Hard takes.
Nothing is copied, so the parts must stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medclm import __version__, storage
from medclm.data import shards
from medclm.data.records import SCHEMA_VERSION
from medclm.errors import UsageError

SHOWN = 3
"""Examples of what is wrong in a message."""


def join(directories: Sequence[str], out: str) -> dict[str, Any]:
    """Writes ``OUT/manifest.json`` over the shards of ``directories``, in their order; returns it.

    Args:
        directories: built datasets of this schema version, any fsspec addresses; joined ones may be among them.
        out: a directory without a dataset. Joining the same parts again writes the same manifest.

    Raises:
        UsageError: no directory was named; one is no finished dataset; ``out`` holds something else; an image is in
            two parts; a patient is in two splits. Images and patients are the same where their ids and the names of
            their datasets are.
    """
    if not directories:
        raise UsageError("there is nothing to join", expected="directories of built datasets")
    parts = [(storage.absolute(directory), shards.read_manifest(directory)) for directory in directories]
    origin = [manifest["content_hash"] for _, manifest in parts]
    build = {
        "fingerprint": storage.fingerprint({"joined": origin}),
        "joined": [address for address, _ in parts],
        "reader_rejects": _added(manifest["build"].get("reader_rejects", {}) for _, manifest in parts),
    }
    _check_out(out, build)
    _check_rows(directories)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "medclm_version": __version__,
        "build": build,
        "rows": sum(manifest["rows"] for _, manifest in parts),
        "content_hash": shards.sum_of_hashes(origin),
        "counts": {key: _added(manifest["counts"].get(key, {}) for _, manifest in parts) for key in _keys(parts)},
        "rejected": _added(manifest["rejected"] for _, manifest in parts),
        "rejected_images": sum(manifest["rejected_images"] for _, manifest in parts),
        "reworded": _added(manifest["reworded"] for _, manifest in parts),
        "shards": [{"in": address, **shard} for address, manifest in parts for shard in manifest["shards"]],
    }
    storage.make_dir(out)
    storage.publish_json(storage.join(out, "manifest.json"), manifest)
    return manifest


def _check_out(out: str, build: dict[str, Any]) -> None:
    path = storage.join(out, "manifest.json")
    if storage.exists(path) and storage.read_json(path)["build"] != build:
        raise UsageError("the directory holds another dataset", where=out, remedy="choose another --out")


def _check_rows(directories: Sequence[str]) -> None:
    """No image twice, no patient in two splits. Reads the columns of ids alone."""
    rows = pa.concat_tables([_ids(url) for directory in directories for url in shards.shard_files(directory)])
    for key, counted, what, remedy in _FAULTS:
        groups = rows.group_by(key).aggregate([("split", counted)])
        found = groups.filter(pc.greater(groups[f"split_{counted}"], 1))[key].to_pylist()
        if found:
            where = ", ".join(sorted(found)[:SHOWN])
            raise UsageError(what, where=where, got=f"{len(found)} {key}s", remedy=remedy)


_FAULTS = (
    ("image", "count", "an image is in two parts", "leave out the part that repeats them"),
    (
        "patient", "count_distinct", "a patient is in two splits",
        "build the parts with the same split and seed, and the same key of ids",
    ),
)  # fmt: skip
"""(column, how its rows are counted, what is wrong where there is more than one, remedy)."""


def _ids(url: str) -> pa.Table:
    """(image, patient, split) of a shard, ids led by the name of the dataset."""
    fs, path = storage.open_fs(url)
    with fs.open(path, "rb") as file:
        found = pq.read_table(file, columns=["dataset", "image_id", "patient_id", "split"])
    named = {
        key: pc.binary_join_element_wise(found["dataset"], found[column], "/")
        for key, column in (("image", "image_id"), ("patient", "patient_id"))
    }
    return pa.table({**named, "split": pc.fill_null(found["split"], "none")})


def _keys(parts: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    return sorted({key for _, manifest in parts for key in manifest["counts"]})


def _added(counts: Any) -> dict[str, int]:
    total: Counter = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))
