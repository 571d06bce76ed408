"""The training rows: a fixed order for each (seed, epoch), streamed from Parquet through Ray Data, resumable anywhere.

A rank's epoch is a seeded order of its (file, row group) fragments, cut into windows of whole fragments. A window's
questions are shuffled together. A position is (epoch, window, offset in the window), so resuming reads nothing twice.
Rows that fit into memory are read once, in the background, from the moment that a :class:`Rows` is made.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medclm import session
from medclm.data.records import Question, Record
from medclm.errors import MedclmError

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW_ROWS = 1024
MEMORY_BYTES = 1 << 29
"""A rank whose shards are no larger than this (compressed) keeps its rows after the first epoch."""
READERS = 1
"""Reading tasks of a rank that run at the same time."""


@dataclass(frozen=True)
class Fragment:
    """One row group of one shard. ``rows``: how many of its rows are of the split. ``bytes``: compressed size."""

    file: str
    group: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Position:
    """Where a rank is: the next question is number ``offset`` of window ``window`` of epoch ``epoch``."""

    epoch: int = 0
    window: int = 0
    offset: int = 0


def fragments_of(directory: str, split: str) -> list[Fragment]:
    """The fragments of a built dataset that hold rows of ``split``. Reads the split column only."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from medclm import storage
    from medclm.data.shards import shard_files

    found = []
    for url in shard_files(directory):
        fs, path = storage.open_fs(url)
        with fs.open(path, "rb") as handle:
            parquet = pq.ParquetFile(handle)
            for group in range(parquet.num_row_groups):
                column = parquet.read_row_group(group, columns=["split"])["split"]
                rows = pc.sum(pc.equal(column, split)).as_py() or 0
                if rows:
                    meta = parquet.metadata.row_group(group)
                    size = sum(meta.column(n).total_compressed_size for n in range(meta.num_columns))
                    found.append(Fragment(url, group, rows, size))
    return found


def share_of(fragments: list[Fragment], rank: int, world: int) -> list[Fragment]:
    """The fragments of one rank: dealt by size, so that ranks hold about equally many rows."""
    if len(fragments) < world:
        raise MedclmError(
            "the split has fewer row groups than there are workers",
            expected=f"at least {world} row groups",
            got=len(fragments),
            remedy="use fewer workers, or build the dataset with a smaller shard_rows",
        )
    loads, shares = [0] * world, [[] for _ in range(world)]  # type: ignore[var-annotated]
    for fragment in sorted(fragments, key=lambda f: (-f.rows, f.file, f.group)):
        poorest = loads.index(min(loads))
        loads[poorest] += fragment.rows
        shares[poorest].append(fragment)
    return sorted(shares[rank], key=lambda f: (f.file, f.group))


def windows_of(fragments: list[Fragment], seed: int, epoch: int, rows: int = WINDOW_ROWS) -> list[list[Fragment]]:
    """One epoch: fragments in the order of (seed, epoch), cut into windows of at least ``rows`` rows but the last."""
    order = list(fragments)
    random.Random(f"{seed}/{epoch}/fragments").shuffle(order)
    windows: list[list[Fragment]] = [[]]
    for fragment in order:
        if sum(f.rows for f in windows[-1]) >= rows:
            windows.append([])
        windows[-1].append(fragment)
    return windows


def question_order(records: list[Record], seed: int, epoch: int, window: int) -> list[tuple[Record, Question]]:
    """All questions of a window that one picture answers, shuffled: a function of (records, seed, epoch, window)."""
    pairs = [(record, question) for record in records for question in record.single_picture_questions]
    random.Random(f"{seed}/{epoch}/{window}/questions").shuffle(pairs)
    return pairs


class Rows:
    """An endless stream of (record, question) of one rank, and the position after each.

    Args:
        fragments: of this rank, see :func:`share_of`.
        split: rows of other splits are left out.
        seed: of the order.
        position: where to begin.
    """

    def __init__(self, fragments: list[Fragment], split: str, seed: int, position: Position = Position()) -> None:
        self.fragments, self.split, self.seed, self.position = fragments, split, seed, position
        self._kept: Future[dict[Fragment, list[Record]]] | None = None
        if sum(fragment.bytes for fragment in fragments) <= MEMORY_BYTES:
            self._kept = ThreadPoolExecutor(1, "rows").submit(self._read_all)

    def __iter__(self) -> Iterator[tuple[Record, Question]]:
        while True:
            epoch, empty = self.position.epoch, True
            windows = windows_of(self.fragments, self.seed, epoch)
            stream = self._read([f for window in windows[self.position.window :] for f in window])
            for number in range(self.position.window, len(windows)):
                records = [record for _ in windows[number] for record in next(stream)]
                pairs = question_order(records, self.seed, epoch, number)
                for offset in range(self.position.offset, len(pairs)):
                    empty = False
                    self.position = Position(epoch, number, offset + 1)
                    yield pairs[offset]
                self.position = Position(epoch, number + 1, 0)
            if empty and self.position.window == 0:
                raise MedclmError("no row of this worker has a question", got=f"{len(self.fragments)} row groups")
            self.position = Position(epoch + 1, 0, 0)

    def _read_all(self) -> dict[Fragment, list[Record]]:
        return dict(zip(self.fragments, _stream(self.fragments, self.split), strict=True))

    def _read(self, fragments: list[Fragment]) -> Iterator[list[Record]]:
        """The records of each fragment, in the order given; from memory where they are kept."""
        if self._kept is None:
            return _stream(fragments, self.split)
        kept = self._kept.result()
        return iter([kept[fragment] for fragment in fragments])


def _stream(fragments: list[Fragment], split: str) -> Iterator[list[Record]]:
    """Ray Data reads row groups in tasks, in order, while the ones before are trained on."""
    import pyarrow as pa
    import ray.data

    from medclm.data.records import from_table

    with session.ordered_data():
        items = [{"file": f.file, "group": f.group, "split": split} for f in fragments]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            read_fragment,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,  # the training workers may hold every CPU of the cluster
            compute=ray.data.TaskPoolStrategy(size=READERS),
        )
        blocks = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2))
        waiting: list[pa.Table] = []
        for fragment in fragments:
            while sum(table.num_rows for table in waiting) < fragment.rows:
                waiting.append(next(blocks))
            table = pa.concat_tables(waiting)
            waiting = [table.slice(fragment.rows)]
            yield from_table(table.slice(0, fragment.rows))


def read_fragment(batch: pa.Table) -> pa.Table:
    """One row group's rows of a split. ``batch`` has one row: file, group, split."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from medclm import storage

    place = batch.to_pylist()[0]
    fs, path = storage.open_fs(place["file"])
    with fs.open(path, "rb") as handle:
        table = pq.ParquetFile(handle).read_row_group(int(place["group"]))
    return table.filter(pc.equal(table["split"], place["split"]))
