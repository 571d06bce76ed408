import random
import threading
import time

import pytest

from medclm.train.feed import Plan, Step, Stream, prefetch, steps_of


class Numbers:
    """Rows that are the numbers from ``first`` on; the position is the last one given."""

    def __init__(self, first=0):
        self.position = first

    def __iter__(self):
        while True:
            self.position += 1
            yield self.position, -self.position


def take(streams, plan, steps, length=lambda number: 0):
    seen = []

    def view(record, question, step, place):
        seen.append((record, question, step, place))
        return record

    return list(steps_of(streams, view, length, list, plan, steps)), seen


def test_steps_number_their_places_in_the_global_batch():
    found, seen = take([Stream(Numbers(), range(12, 18))], Plan(accumulate=2), range(4, 6))
    assert found == [Step(4, [[1, 2, 3], [4, 5, 6]], [6]), Step(5, [[7, 8, 9], [10, 11, 12]], [12])]
    assert seen[0] == (1, -1, 4, 12)
    assert [place for *_, place in seen] == [12, 13, 14, 15, 16, 17] * 2


def test_micro_batches_hold_examples_of_like_length():
    found, _ = take([Stream(Numbers(), range(4))], Plan(accumulate=2), range(1), length=lambda n: n % 2)
    assert found[0].batches == [[2, 4], [1, 3]]


def test_a_pool_deals_like_lengths_to_a_step_and_holds_every_example_once():
    streams = [Stream(Numbers(0), range(2)), Stream(Numbers(100), range(2, 4))]
    found, seen = take(streams, Plan(pool_steps=4, seed=3), range(4), length=lambda n: n % 100)
    steps = [sorted(step.batches[0]) for step in found]
    assert sorted(steps) == [[1, 2, 101, 102], [3, 4, 103, 104], [5, 6, 105, 106], [7, 8, 107, 108]]
    assert steps != sorted(steps)
    assert len(seen) == 16
    assert [step.positions for step in found] == [[0, 100]] * 3 + [[8, 108]]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_run_resumes_inside_a_pool(cut):
    plan = Plan(accumulate=1, pool_steps=3, seed=1)

    def streams(positions=(0, 100)):
        return [Stream(Numbers(first), range(2 * n, 2 * n + 2)) for n, first in enumerate(positions)]

    whole, _ = take(streams(), plan, range(8), length=lambda n: n % 3)
    resumed, _ = take(streams(whole[cut - 1].positions), plan, range(cut, 8), length=lambda n: n % 3)
    assert resumed == whole[cut:]


def test_a_step_has_the_same_examples_for_any_number_of_workers():
    def streams(numbers):
        return [Stream(Numbers(100 * n), range(3 * n, 3 * n + 3)) for n in numbers]

    plan = Plan(pool_steps=4, seed=2)
    one, _ = take(streams(range(4)), plan, range(8), length=lambda n: n % 7)
    parts = [take(streams(part), plan, range(8), length=lambda n: n % 7)[0] for part in ((0,), (1, 2), (3,))]
    for number, step in enumerate(one):
        together = [example for part in parts for batch in part[number].batches for example in batch]
        assert sorted(together) == sorted(step.batches[0])


def test_prefetch_keeps_order_and_raises_in_place():
    def items():
        yield from (1, 2, 3)
        raise KeyError("broken")

    found = []
    with pytest.raises(KeyError, match="broken"):
        found.extend(prefetch(items()))  # extend keeps what came before the error
    assert found == [1, 2, 3]


def test_prefetch_stops_its_thread_when_left():
    running = threading.active_count()
    stream = prefetch(iter(range(1000)))
    assert next(stream) == 0
    stream.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == running


def test_pools_of_eight_steps_in_four_micro_batches_have_less_than_five_percent_padding():
    """Lengths as of the phantoms' rows: a fifth short (Hard, 60 to 75 tokens), the others 95 to 200."""
    rng = random.Random(0)
    lengths = [rng.randint(60, 75) if rng.random() < 0.2 else rng.randint(95, 200) for _ in range(24 * 64)]
    streams = [Stream(Numbers(200 * n), range(3 * n, 3 * n + 3)) for n in range(8)]

    def padding(plan):
        found, _ = take([Stream(Numbers(s.rows.position), s.places) for s in streams], plan, range(64), length)
        batches = [[length(number) for number in batch] for step in found for batch in step.batches]
        return 1 - sum(map(sum, batches)) / sum(max(batch) * len(batch) for batch in batches)

    def length(number):
        return lengths[number % len(lengths)]

    assert padding(Plan(accumulate=4, pool_steps=8)) < 0.05 < padding(Plan())
