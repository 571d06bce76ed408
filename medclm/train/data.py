"""The training rows: a fixed order for each (seed, epoch), streamed from Parquet through Ray Data, resumable anywhere.

A run's data is dealt to a fixed number of streams, whatever the number of workers: each stream has its own (file, row
group) fragments and supplies the same places of every global batch. A worker serves some of the streams, so the
examples of a step do not depend on how many workers there are. A stream's epoch is a seeded order of its fragments,
cut into windows of whole fragments; a window's questions are shuffled together. A position is (epoch, window, offset
in the window), so resuming reads nothing twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medclm import session
from medclm.data.records import Question, Record
from medclm.errors import MedclmError, UsageError
from medclm.train.views import has_pictures

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW_ROWS = 256
MOST_STREAMS = 16
"""Streams of a run with no more workers than this."""
MEMORY_BYTES = 1 << 29
"""A rank whose shards are no larger than this (compressed) keeps its rows in memory."""
READERS = 1
"""Reading tasks of a stream that run at the same time."""

Order = Callable[[list[tuple[Record, Question]]], list[tuple[Record, Question]]]


@dataclass(frozen=True)
class Fragment:
    """One row group of one shard. ``rows``: how many of its rows are of the split. ``bytes``: compressed size."""

    file: str
    group: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Position:
    """Where a stream is: the next question is number ``offset`` of window ``window`` of epoch ``epoch``."""

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


def stream_count(fragments: int, batch_size: int, workers: int) -> int:
    """How many streams a run has: the most that divide the global batch and find a fragment each.

    Args:
        fragments: row groups of the split.
        workers: the most that the run may have.

    Raises:
        UsageError: there are fewer row groups, or places in a batch, than workers.
    """
    most = min(fragments, max(MOST_STREAMS, workers))
    count = max((n for n in range(1, most + 1) if batch_size % n == 0), default=0)
    if count < workers:
        raise UsageError(
            "the data cannot be dealt to so many workers",
            expected=f"at least {workers} row groups, and as many streams that divide the batch",
            got=f"{fragments} row groups, batch_size {batch_size}: {count} streams",
            remedy="use fewer workers, another batch_size, or build the dataset with a smaller shard_rows",
        )
    return count


def deal(fragments: list[Fragment], streams: int) -> list[list[Fragment]]:
    """The fragments of each stream: dealt by size, so that streams hold about equally many rows."""
    loads, shares = [0] * streams, [[] for _ in range(streams)]  # type: ignore[var-annotated]
    for fragment in sorted(fragments, key=lambda f: (-f.rows, f.file, f.group)):
        poorest = loads.index(min(loads))
        loads[poorest] += fragment.rows
        shares[poorest].append(fragment)
    return [sorted(share, key=lambda f: (f.file, f.group)) for share in shares]


def streams_of_rank(streams: int, rank: int, world: int) -> range:
    """The streams that a rank serves; ranks differ by at most one."""
    return range(rank * streams // world, (rank + 1) * streams // world)


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
    """All questions of a window that have their pictures, shuffled: a function of (records, seed, epoch, window)."""
    pairs = [
        (record, question) for record in records for question in record.questions if has_pictures(record, question)
    ]
    random.Random(f"{seed}/{epoch}/{window}/questions").shuffle(pairs)
    return pairs


class Shelf:
    """The records of a rank's fragments: kept where they fit into memory, else streamed each time.

    Kept ones are read once, in the background, from the moment that the shelf is made.
    """

    def __init__(self, fragments: list[Fragment], split: str) -> None:
        self.split = split
        self._kept: Future[dict[Fragment, list[Record]]] | None = None
        if sum(fragment.bytes for fragment in fragments) <= MEMORY_BYTES:
            read = ThreadPoolExecutor(1, "rows").submit
            self._kept = read(lambda: dict(zip(fragments, _stream(fragments, split), strict=True)))

    def read(self, fragments: list[Fragment]) -> Iterator[list[Record]]:
        """The records of each fragment, in the order given."""
        if self._kept is None:
            return _stream(fragments, self.split)
        kept = self._kept.result()
        return iter([kept[fragment] for fragment in fragments])


class Rows:
    """An endless stream of (record, question), and the position after each.

    Args:
        fragments: of this stream, see :func:`deal`.
        shelf: holds them.
        seed: of the order.
        order: from a window's pairs to the pairs that are given out, for ablations.
        position: where to begin.
    """

    def __init__(
        self, fragments: list[Fragment], shelf: Shelf, seed: int, order: Order | None = None,
        position: Position = Position(),
    ) -> None:  # fmt: skip
        self.fragments, self.shelf, self.seed, self.position = fragments, shelf, seed, position
        self._order = order or (lambda pairs: pairs)

    def __iter__(self) -> Iterator[tuple[Record, Question]]:
        while True:
            epoch, empty = self.position.epoch, True
            windows = windows_of(self.fragments, self.seed, epoch)
            stream = self.shelf.read([f for window in windows[self.position.window :] for f in window])
            for number in range(self.position.window, len(windows)):
                records = [record for _ in windows[number] for record in next(stream)]
                pairs = self._order(question_order(records, self.seed, epoch, number))
                for offset in range(self.position.offset, len(pairs)):
                    empty = False
                    self.position = Position(epoch, number, offset + 1)
                    yield pairs[offset]
                self.position = Position(epoch, number + 1, 0)
            if empty and self.position.window == 0:
                raise MedclmError("no row of this stream has a question", got=f"{len(self.fragments)} row groups")
            self.position = Position(epoch + 1, 0, 0)


def swap_reasoning(pairs: list[tuple[Record, Question]]) -> list[tuple[Record, Question]]:
    """Every explained question with the reasoning of the next one of its type from another picture (an ablation)."""
    by_type: dict[str, list[int]] = {}
    for place, (_, question) in enumerate(pairs):
        if question.reasoning:
            by_type.setdefault(question.type, []).append(place)
    swapped = list(pairs)
    for places in by_type.values():
        for n, place in enumerate(places):
            record, question = pairs[place]
            others = (pairs[places[(n + k) % len(places)]] for k in range(1, len(places)))
            donor = next((other for owner, other in others if owner.image_id != record.image_id), question)
            swapped[place] = record, question.model_copy(update={"reasoning": donor.reasoning})
    return swapped


def _stream(fragments: list[Fragment], split: str) -> Iterator[list[Record]]:
    """Ray Data reads row groups in tasks, in order, while the ones before are trained on."""
    import pyarrow as pa
    import ray.data

    from medclm.data.record_table import from_table

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
