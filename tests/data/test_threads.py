"""Bounded threads."""

from __future__ import annotations

import threading

import pytest

from medclm.data.threads import in_threads


def test_results_are_in_order_and_no_more_run_than_asked():
    lock, running, most = threading.Lock(), set(), []
    together = threading.Barrier(3)

    def work(number):
        with lock:
            running.add(number)
            most.append(len(running))
        together.wait(timeout=10)  # passes only when three run at a time
        with lock:
            running.remove(number)
        return number * number

    assert list(in_threads(work, range(9), threads=3)) == [n * n for n in range(9)]
    assert max(most) == 3


def test_nothing_to_do_and_more_than_is_read_ahead():
    assert list(in_threads(str, [])) == []
    assert list(in_threads(lambda n: -n, range(2500), threads=2)) == [-n for n in range(2500)]


def test_a_fault_comes_out():
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda n: 1 // n, [1, 0]))
