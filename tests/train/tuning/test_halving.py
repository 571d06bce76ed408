"""Successive halving, by hand: who stops at which step."""

from __future__ import annotations

import math

import pytest

from medclm.train.tuning.halving import Halving, rungs, stage_entered, survivors
from medclm.train.tuning.trials import Trial


def run(halving: Halving, name: str, scores: dict[int, float], stages: dict[int, int] | None = None) -> int:
    """Measures a trial step by step until it is stopped; the step it came to."""
    for step, score in scores.items():
        if not halving.keep(name, step, score, (stages or {}).get(step, 0)):
            return step
    return max(scores)


def flat(score: float) -> dict[int, float]:
    return dict.fromkeys((10, 20, 30, 40, 50, 60, 70, 80), score)


def test_rungs_grow_by_the_factor_and_end_before_the_run():
    assert Halving(10, 2, 80).rungs == [10, 20, 40]
    assert Halving(25, 3, 80).rungs == [25, 75]
    assert Halving(80, 2, 80).rungs == []


def test_bad_trials_stop_early_and_good_ones_do_not():
    """One after the other. The k-th at a rung goes on when fewer than max(1, k // 2) are better."""
    halving = Halving(10, 2, 80)
    ends = [run(halving, name, flat(score)) for name, score in
            {"a": 0.5, "b": 0.4, "c": 0.6, "d": 0.55, "e": 0.1, "f": 0.7}.items()]  # fmt: skip
    # a is alone; b is behind a; c leads; d (4th) is second of 2 that may go on at 10, but 3rd of a, c, d at 20;
    # e is behind; f leads
    assert ends == [80, 10, 80, 20, 10, 80]


def test_the_least_counts_where_the_metric_is_a_loss():
    halving = Halving(10, 2, 80, mode="min")
    assert [run(halving, "a", flat(0.5)), run(halving, "b", flat(0.6)), run(halving, "c", flat(0.4))] == [80, 10, 80]


def test_equals_are_not_stopped():
    halving = Halving(10, 2, 80)
    assert [run(halving, name, flat(0.5)) for name in "abcd"] == [80] * 4


def test_a_trial_that_entered_a_harder_stage_is_judged_later_at_equal_steps():
    """b dips at 20, where it enters Medium, and has caught up at 40. Without the grace it stops at 20."""
    steady = flat(0.5)
    dips = {10: 0.5, 20: 0.3, 30: 0.4, 40: 0.6, 50: 0.6, 60: 0.6, 70: 0.6, 80: 0.6}
    stages = {10: 0, **dict.fromkeys((20, 30, 40, 50, 60, 70, 80), 1)}
    hasty = Halving(10, 2, 80, stage_grace_steps=0)
    assert [run(hasty, "a", steady), run(hasty, "b", dips, stages)] == [80, 20]
    patient = Halving(10, 2, 80, stage_grace_steps=20)
    assert [run(patient, "a", steady), run(patient, "b", dips, stages)] == [80, 80]


def test_grace_ends():
    """c never catches up: judged at 40, its first measurement 20 steps after entering Medium."""
    halving = Halving(10, 2, 80, stage_grace_steps=20)
    run(halving, "a", flat(0.5))
    low = {10: 0.5, 20: 0.3, 30: 0.3, 40: 0.3, 50: 0.3}
    assert run(halving, "c", low, {10: 0, 20: 1, 30: 1, 40: 1, 50: 1}) == 40


def test_a_late_judgement_counts_those_that_were_stopped_before_as_behind():
    """At 20 four have come; d, judged at 30 because it entered Medium, is behind a alone: two may go on."""
    halving = Halving(20, 2, 80, stage_grace_steps=10)
    run(halving, "a", flat(0.9))
    assert run(halving, "b", flat(0.3)) == 20
    assert run(halving, "c", flat(0.3)) == 20
    late = {10: 0.1, 20: 0.1, 30: 0.5}
    assert run(halving, "d", late, {10: 0, 20: 1, 30: 1}) == 30
    assert halving.keep("d", 31, 0.1, 1), "it passed the rung of 20 and is not judged for it again"


def test_the_end_of_a_run_is_no_rung():
    halving = Halving(10, 2, 80, stage_grace_steps=70)
    run(halving, "a", flat(0.9))
    assert halving.keep("b", 80, 0.1, 2)


@pytest.mark.parametrize(
    ("order", "spent"),
    [
        ([8, 7, 6, 5, 4, 3, 2, 1], 150),  # the best first: all others stop at the first rung
        ([4, 8, 1, 6, 2, 7, 3, 5], 270),
        ([1, 2, 3, 4, 5, 6, 7, 8], 640),  # each better than all before: nothing can be saved
    ],
)
def test_what_eight_trials_one_after_the_other_spend(order, spent):
    halving = Halving(10, 2, 80)
    steps = {name: run(halving, f"t{name}", flat(name / 10)) for name in order}
    assert steps[8] == 80, "the best runs to its end"
    assert sum(steps.values()) == spent


def at_rung(name: str, score: float, shares: tuple = (), status: str = "running") -> Trial:
    return Trial(name, {}, status, 20, score, ((10, 0.9), (20, score)), shares)


def test_the_best_half_goes_on_after_a_round():
    trials = [
        at_rung("a", 0.1),
        at_rung("b", 0.4),
        at_rung("c", 0.3),
        at_rung("d", 0.3),
        at_rung("e", 0.9, status="failed"),
    ]
    assert survivors(trials, 20, 2) == {"b", "c"}, "the earlier of equals; a failed one does not count"
    assert survivors(trials, 20, 4) == {"b"}
    assert survivors(trials, 20, 2, mode="min") == {"a", "c"}
    assert survivors(trials, 10, 2) == {"a", "b", "c", "d"}, "all are equal there"
    assert survivors(trials, 30, 2) == set()


def test_a_round_that_is_looked_at_again_says_the_same():
    trials = [at_rung("a", 0.1, status="stopped"), at_rung("b", 0.4), at_rung("c", 0.3)]
    assert survivors(trials, 20, 2) == {"b"} == survivors([*trials[1:], trials[0]], 20, 2)


def test_who_has_just_entered_a_harder_stage_goes_on_beside_the_best():
    easy, medium = (10, 1.0, 0.0, 0.0), (20, 0.5, 0.5, 0.0)
    trials = [at_rung("a", 0.1, (easy, medium)), at_rung("b", 0.4, (easy, (20, 1.0, 0.0, 0.0))), at_rung("c", 0.2)]
    assert stage_entered(trials[0], 20) == 20
    assert stage_entered(trials[0], 10) == stage_entered(trials[2], 20) == -math.inf
    assert survivors(trials, 20, 2, stage_grace_steps=10) == {"a", "b"}
    assert survivors(trials, 20, 2, stage_grace_steps=0) == {"b"}
    assert rungs(10, 2, 80) == [10, 20, 40]
