import numpy as np
import pytest
from scipy.stats import permutation_test

from medclm.eval.stats import Interval, _holm, arm_table, bootstrap, paired_permutation


def test_interval_of_agreeing_values_has_no_width():
    assert bootstrap([1, 1, 1], ["a", "b", "c"]) == Interval(1.0, 1.0, 1.0, 3, 3)


def test_interval_of_nothing():
    assert bootstrap([], []) == Interval(None, None, None, 0, 0)


def test_interval_of_independent_values_is_close_to_the_normal_one():
    values = np.repeat([0.0, 1.0], 200)
    found = bootstrap(values, [str(i) for i in range(400)], seed=3, resamples=4000)
    half = 1.96 * np.sqrt(0.25 / 400)  # 0.049
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - half, abs=0.006)
    assert found.high == pytest.approx(0.5 + half, abs=0.006)


def test_the_image_is_the_unit():
    """100 images of 4 equal answers each are 100 observations, not 400: the interval is twice as wide."""
    values = np.repeat([0.0, 1.0], 200)
    alone = bootstrap(values, [str(i) for i in range(400)], resamples=4000)
    grouped = bootstrap(values, [str(i // 4) for i in range(400)], resamples=4000)
    assert (grouped.n, grouped.clusters) == (400, 100)
    assert (grouped.high - grouped.low) / (alone.high - alone.low) == pytest.approx(2, rel=0.1)


def test_interval_is_seeded_and_order_of_questions_does_not_matter():
    values, images = [1, 0, 0, 1, 1, 0], ["a", "a", "b", "c", "c", "d"]
    assert bootstrap(values, images, seed=1) == bootstrap(values, images, seed=1)
    assert bootstrap(values[::-1], images[::-1], seed=1) == bootstrap(values, images, seed=1)


def test_permutation_of_three_images_by_hand():
    # differences by image 1, 1, 1: |sum| reaches 3 for 2 of the 8 sign patterns
    assert paired_permutation([1, 1, 1], [0, 0, 0], ["a", "b", "c"]) == 2 / 8
    # differences 2 (image a), -1 (image b): |sum| >= 1 for all 4
    assert paired_permutation([1, 1, 0], [0, 0, 1], ["a", "a", "b"]) == 1.0


def test_permutation_of_equal_runs():
    assert paired_permutation([1, 0], [1, 0], ["a", "b"]) == 1.0


def test_permutation_agrees_with_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.random(9), rng.random(9)
    peer = permutation_test(
        (first, second), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_permutation(first, second, list("abcdefghi")) == pytest.approx(peer.pvalue)


def test_drawn_permutations_are_close_to_all_of_them():
    rng = np.random.default_rng(1)
    first, second, images = rng.random(12) + 0.2, rng.random(12), [str(i) for i in range(12)]
    exact = paired_permutation(first, second, images)
    assert paired_permutation(first, second, images, resamples=4000) == pytest.approx(exact, abs=0.02)


def test_wrong_lengths_and_nan():
    with pytest.raises(ValueError, match="cluster"):
        bootstrap([1, 2], ["a"])
    with pytest.raises(ValueError, match="finite"):
        bootstrap([float("nan")], ["a"])
    with pytest.raises(ValueError, match="paired"):
        paired_permutation([1], [1, 2], ["a"])


def run(*scores: float) -> list[tuple[str, str, float]]:
    """Questions q0, q1, ... two to an image."""
    return [(f"q{n}", f"im{n // 2}", score) for n, score in enumerate(scores)]


def test_arm_table_by_hand():
    runs = {
        "base": {0: run(0, 0, 0, 0, 1, 0), 1: run(1, 0, 0, 0, 1, 0)},
        "ours": {0: run(1, 0, 1, 0, 1, 1), 1: run(1, 0, 1, 1, 1, 1)},
        "same": {1: list(reversed(run(1, 0, 0, 0, 1, 0)))},
    }
    base, ours, same = arm_table(runs, "base")
    # base: 1 and 2 of 6; ours: 4 and 5 of 6
    assert base.by_seed == pytest.approx((1 / 6, 2 / 6))
    assert (base.accuracy.value, base.accuracy.n, base.accuracy.clusters) == (pytest.approx(1 / 4), 6, 3)
    assert base.seed_sd == pytest.approx((1 / 6) / np.sqrt(2))
    assert (base.lead, base.p_value, base.p_holm) == (None, None, None)
    assert ours.lead.value == pytest.approx(3 / 6)
    assert ours.lead_by_seed == pytest.approx((3 / 6, 3 / 6))
    # leads by image, mean of the seeds: 0.5, 1.5, 1: all positive, so 2 of 8 sign patterns reach the sum
    assert ours.p_value == 2 / 8
    # two arms are compared: the smaller p-value doubles, the other one is 1
    assert (ours.p_holm, same.p_value, same.p_holm) == (2 / 4, 1.0, 1.0)
    # the one seed that both have is compared
    assert (same.seed_sd, same.lead.value, same.lead_by_seed) == (None, 0.0, (0.0,))


def test_holm_by_hand():
    # sorted .01, .02, .03: 3 x .01, then 2 x .02 = .04, then 1 x .03 which may not be below .04
    assert _holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert _holm([]) == []


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"ours": {0: run(1)}}, "no arm"),
        ({"base": {0: run(1)}, "ours": {}}, "without a run: ours"),
        ({"base": {0: run(1)}, "ours": {0: run(1, 0)}}, "not those"),
        ({"base": {0: run(1)}, "ours": {0: [("q0", "other", 1)]}}, "not those"),
        ({"base": {0: run(1) + run(1)}}, "twice"),
        ({"base": {0: run(1)}, "ours": {1: run(1)}}, "shares no seed"),
    ],
)
def test_arm_table_refuses_runs_that_cannot_be_compared(runs, message):
    with pytest.raises(ValueError, match=message):
        arm_table(runs, "base")
