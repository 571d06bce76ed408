"""The stages of the build as Ray Data sees them: batches in, batches out. The work itself is :mod:`annotate`'s.

Pixels travel as raw bytes beside their shape, records as JSON; both are views or plain text, never pickled objects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from medclm.data import shards
from medclm.data.annotate import assemble
from medclm.data.batches import Batch, as_array, pack_masks, rows_of
from medclm.data.decode import aside, decode_record
from medclm.data.display import Display
from medclm.data.images import encode_png
from medclm.data.records import Record
from medclm.data.rejects import RejectReason
from medclm.data.segmenters import SegmenterInput, make_segmenter
from medclm.data.settle import settle
from medclm.errors import MedclmError

Stage = Callable[[pa.Table], pa.Table | Batch]


def decode(table: pa.Table, window: str, keep_text: bool = False) -> Batch:
    """Reads and renders the images of a batch; pixels travel on as raw bytes beside their shape, and as PNG.

    Columns out: index, record (JSON), complete, reject (JSON, or "" for a good row), lost (list of JSON: findings that
    were set aside), values (float32 bytes, bright is high), shown (uint8 bytes), png (of shown), shape (JSON), window
    (JSON or "").
    """
    batch = rows_of(table)
    rows = [decode_record(Record.model_validate_json(text), window, keep_text) for text in batch["record"]]
    return {
        "index": batch["index"],
        "complete": [bool(ok) and not row.lost for ok, row in zip(batch["complete"], rows, strict=True)],
        "lost": [[reject.model_dump_json() for reject in row.lost] for row in rows],
        "record": [row.record.model_dump_json() for row in rows],
        "reject": [row.reject.model_dump_json() if row.reject else "" for row in rows],
        "values": pa.array([row.values.tobytes() for row in rows], pa.large_binary()),
        "shown": pa.array([row.shown.tobytes() for row in rows], pa.large_binary()),
        "png": pa.array([b"" if row.reject else encode_png(row.shown) for row in rows], pa.large_binary()),
        "shape": [json.dumps(row.shown.shape) for row in rows],
        "window": [row.window.model_dump_json() if row.window else "" for row in rows],
    }


class Segment:
    """Actor: organ masks of a batch of pictures. The model is loaded once an actor.

    Columns added: ``organs``, JSON list of names; ``masks``, one bit a pixel (:func:`pack_masks`); ``segmenter``.
    ``shown`` ends here.
    """

    def __init__(self, spec: str, cache: str = "") -> None:
        self.segmenter = make_segmenter(spec, cache=cache)

    def __call__(self, table: pa.Table) -> pa.Table:
        batch = rows_of(table)
        good = [i for i, reject in enumerate(batch["reject"]) if not reject]
        rejects = list(batch["reject"])
        organs, packed = ["[]"] * len(rejects), [b""] * len(rejects)
        for i, masks in zip(good, self._masks(self.inputs(batch)), strict=True):
            if isinstance(masks, dict):
                organs[i], packed[i] = json.dumps(sorted(masks)), pack_masks(masks)
            else:
                record = Record.model_validate_json(batch["record"][i])
                rejects[i] = aside(record, *masks).model_dump_json()
        columns = {"reject": rejects, "organs": organs, "segmenter": [self.segmenter.name] * len(organs)}
        table = table.drop_columns(["shown", "reject"]).append_column("masks", pa.array(packed, pa.large_binary()))
        for name, column in columns.items():
            table = table.append_column(name, pa.array(column, pa.string()))
        return table

    def inputs(self, batch: Batch) -> list[SegmenterInput]:
        """What the segmenter takes of the rows that are good; pixels are views of the batch."""
        found = []
        for i, reject in enumerate(batch["reject"]):
            if reject:
                continue
            record = Record.model_validate_json(batch["record"][i])
            shown = as_array(batch["shown"][i], batch["shape"][i])
            values = np.frombuffer(batch["values"][i], np.float32).reshape(shown.shape[:2])
            display = Display.parse(record.source.display)
            found.append(
                SegmenterInput(
                    record.image_id, shown, values, record.source, display, record.modality, record.spacing_mm
                )
            )
        return found

    def _masks(self, inputs: list[SegmenterInput]) -> list[dict[str, np.ndarray] | tuple[RejectReason, str]]:
        """Masks an image, or why there are none. A batch that fails is halved: one image does not cost the others."""
        if not inputs:
            return []
        try:
            return list(self.segmenter(inputs))
        except (MedclmError, MemoryError, RuntimeError) as error:
            reason = _reason(error)
            if len(inputs) == 1:
                return [(reason, str(error))]
        half = len(inputs) // 2
        return [*self._masks(inputs[:half]), *self._masks(inputs[half:])]


class Together:
    """Actor: several stages in one process, so that pixels never leave it. A batch goes through all of them."""

    def __init__(self, stages: Sequence[Callable[[], Stage]]) -> None:
        """``stages``: makes each of them, in their order."""
        self.stages = [make() for make in stages]
        settle()

    def __call__(self, table: pa.Table) -> pa.Table:
        for stage in self.stages:
            done = stage(table)
            table = done if isinstance(done, pa.Table) else pa.table(done)
        return table


def _reason(error: Exception) -> RejectReason:
    """Why a segmenter failed; what is neither its own word nor a lack of memory is a fault of the program.

    torch raises OutOfMemoryError (a RuntimeError) on a GPU, and a RuntimeError of its allocator on a CPU.
    """
    if isinstance(error, MedclmError):
        return "segmenter-failed"
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return "out-of-memory"
    raise error


def publish(table: pa.Table, out: str, shard_rows: int) -> Batch:
    """Writes one shard; a batch is exactly one shard's rows, in order. Returns their indices.

    Raises:
        MedclmError: the block holds rows of several shards (Ray broke the order).
    """
    batch = rows_of(table)
    index = [int(i) for i in batch["index"]]
    shard = index[0] // shard_rows
    if index != list(range(shard * shard_rows, shard * shard_rows + len(index))):
        raise MedclmError("a block is not one shard", expected=f"rows of shard {shard} in order", got=index[:20])
    records, rejects = [], []
    for row in range(len(index)):
        record, lost = assemble(batch, row)
        records += [record] if record else []
        rejects += lost
    reworded: Counter[str] = Counter()
    for text in batch.get("reworded", ()):
        reworded.update(json.loads(text))
    shards.write_shard(out, shard, records, rejects, dict(reworded))
    return {"index": index}
