import json
import threading

import pytest

from medclm.config import ScheduleConfig
from medclm.train.course import Course

LOSSES = {"nodule/CR": {"easy": (50.0, 50.0), "medium": (50.0, 50.0)}}
QUICK = ScheduleConfig(name="competence", window=4, history=0.5, shortest=0.0, patience=1, ramp=0.0, floor=0.2)


def finished(course, upto):
    for done in range(course.window, upto + 1, course.window):
        course.observe(done, LOSSES, {})
    return course


def test_a_window_follows_the_state_two_windows_before():
    course = Course(QUICK, 40, 0)
    course.observe(4, LOSSES, {})
    course.observe(8, LOSSES, {})  # the second flat gap moves the domain on
    assert course.newest["domains"]["nodule/CR"]["stage"] == 1
    assert course.shares(11, "nodule/CR") == (0.8, 0.2, 0.0)
    assert course.shares(12, "nodule/CR") != (0.8, 0.2, 0.0)


def test_a_draw_ahead_waits_for_the_losses_it_depends_on():
    course, found = Course(QUICK, 40, 0), []
    thread = threading.Thread(target=lambda: found.append(course.shares(8, "x")), daemon=True)
    thread.start()
    thread.join(0.2)
    assert found == []
    course.observe(4, LOSSES, {})
    thread.join(5)
    assert len(found) == 1


def test_closing_ends_a_wait_with_an_error():
    course = Course(QUICK, 40, 0)
    course.close()
    assert course.shares(7, "x") == (0.8, 0.2, 0.0)
    with pytest.raises(RuntimeError, match="the run ended"):
        course.shares(8, "x")


def test_what_is_saved_gives_the_same_draws():
    course = finished(Course(QUICK, 40, 3), 16)
    again = Course(QUICK, 40, 3)
    again.restore(json.loads(json.dumps(course.saved())))
    steps = range(12, 24)  # a pool of the window before may still be drawn from
    draws = [(step, place) for step in steps for place in range(8)]
    assert [course.stage(*d, "nodule/CR") for d in draws] == [again.stage(*d, "nodule/CR") for d in draws]
    course.observe(20, LOSSES, {})
    again.observe(20, LOSSES, {})
    assert course.newest == again.newest


def test_a_window_is_at_least_a_pool():
    assert Course(QUICK, 40, 0, pool_steps=6).window == 6


def test_fixed_needs_no_losses():
    course = Course(ScheduleConfig(name="fixed"), 40, 0)
    assert not course.ends(40)
    assert course.shares(39, "x")[2] > 0.8


def test_competence_is_asked_at_the_end_of_each_window_and_of_the_run():
    course = Course(QUICK, 10, 0)
    assert [done for done in range(1, 11) if course.ends(done)] == [4, 8, 10]
