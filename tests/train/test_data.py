import itertools

import pyarrow as pa
import pytest

from medclm.data.record_table import from_table
from medclm.errors import UsageError
from medclm.train import data
from medclm.train.data import (
    Fragment,
    Position,
    Rows,
    Shelf,
    deal,
    fragments_of,
    stream_count,
    streams_of_rank,
    swap_reasoning,
    windows_of,
)
from tests.train.conftest import make_record


def fragment(n, rows=10):
    return Fragment(f"shard-{n}", 0, rows, 100)


def test_fragments_of_a_split(squares):
    assert [f.rows for f in fragments_of(squares, "train")] == [8, 8, 8, 8]
    assert [f.rows for f in fragments_of(squares, "validate")] == [8]


def test_streams_are_disjoint_complete_and_even():
    fragments = [fragment(n, rows) for n, rows in enumerate((30, 5, 5, 10, 10))]
    shares = deal(fragments, 2)
    assert sorted(f.file for share in shares for f in share) == [f.file for f in fragments]
    assert [sum(f.rows for f in share) for share in shares] == [30, 30]


@pytest.mark.parametrize(
    ("fragments", "batch", "workers", "count"), [(100, 24, 2, 12), (7, 24, 2, 6), (1, 24, 1, 1), (100, 64, 32, 32)]
)
def test_stream_count_by_hand(fragments, batch, workers, count):
    assert stream_count(fragments, batch, workers) == count


def test_more_workers_than_streams():
    with pytest.raises(UsageError, match="so many workers"):
        stream_count(1, 24, 2)
    with pytest.raises(UsageError, match="so many workers"):
        stream_count(100, 7, 2 + 6)


def test_every_stream_has_one_rank():
    for world in range(1, 7):
        ranks = [list(streams_of_rank(12, rank, world)) for rank in range(world)]
        assert [stream for rank in ranks for stream in rank] == list(range(12))
        assert max(map(len, ranks)) - min(map(len, ranks)) <= 1


def test_swapped_reasoning_is_of_another_picture_and_the_same_type():
    pairs = [(record, question) for record in map(make_record, range(3)) for question in record.questions]
    swapped = swap_reasoning(pairs)
    for (record, before), (same, after) in zip(pairs, swapped, strict=True):
        assert (record, before.question, before.answer) == (same, after.question, after.answer)
        owners = [r.image_id for r, q in pairs if q.reasoning == after.reasoning and q.type == after.type]
        assert not before.reasoning or record.image_id not in owners


def test_windows_are_whole_fragments_in_a_seeded_order():
    fragments = [fragment(n) for n in range(10)]
    windows = windows_of(fragments, seed=1, epoch=0, rows=25)
    assert [len(window) for window in windows] == [3, 3, 3, 1]
    assert windows == windows_of(fragments, 1, 0, 25)
    assert windows != windows_of(fragments, 1, 1, 25)
    assert {f.file for window in windows for f in window} == {f.file for f in fragments}


def take(rows, count):
    return [(record.image_id, question.id) for record, question in itertools.islice(rows, count)]


def read_here(fragments, split):
    """What ``_stream`` gives, read in this process."""
    for fragment in fragments:
        row = pa.table({"file": [fragment.file], "group": [fragment.group], "split": [split]})
        yield from_table(data.read_fragment(row))


@pytest.mark.parametrize("memory", [0, 1 << 29])
def test_an_epoch_is_every_question_once_and_resumes_anywhere(squares, monkeypatch, memory):
    monkeypatch.setattr(data, "MEMORY_BYTES", memory)
    monkeypatch.setattr(data, "_stream", read_here)
    monkeypatch.setattr(data.windows_of, "__defaults__", (16,))
    share = fragments_of(squares, "train")
    whole = take(Rows(share, Shelf(share, "train"), 7), 96 + 40)
    assert len(set(whole[:96])) == 96
    assert whole[:40] != whole[96:]
    for cut in (1, 50, 96, 100):
        rows = Rows(share, Shelf(share, "train"), 7)
        assert take(rows, cut) == whole[:cut]
        assert take(Rows(share, Shelf(share, "train"), 7, position=rows.position), 20) == whole[cut : cut + 20]


def test_a_position_counts_questions(squares, monkeypatch):
    monkeypatch.setattr(data, "_stream", read_here)
    share = fragments_of(squares, "train")
    rows = Rows(share, Shelf(share, "train"), 7)
    take(rows, 5)
    assert rows.position == Position(0, 0, 5)


def test_ray_data_streams_the_fragments_in_their_order(ray_cluster, squares):
    share = fragments_of(squares, "train")[::-1]
    found = [[record.image_id for record in records] for records in data._stream(share, "train")]
    assert found == [[f"image-{n}" for n in range(first, first + 8)] for first in (24, 16, 8, 0)]
