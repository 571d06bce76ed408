import threading
import time

import pytest

from medclm.train.feed import prefetch, steps_of


class Numbers:
    position = 0

    def __iter__(self):
        while True:
            self.position += 1
            yield self.position, -self.position


def test_steps_number_their_places_in_the_global_batch():
    seen = []

    def view(record, question, step, place):
        seen.append((record, question, step, place))
        return record

    found = list(steps_of(Numbers(), view, list, (2, 3), range(4, 6), 12))
    assert found == [(4, [[1, 2, 3], [4, 5, 6]], 6), (5, [[7, 8, 9], [10, 11, 12]], 12)]
    assert seen[0] == (1, -1, 4, 12)
    assert [place for *_, place in seen] == [12, 13, 14, 15, 16, 17] * 2


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
