"""Statistics: how sure a score is. Questions about one image are not independent, so the unit is the image.

Bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval), resampling
whole clusters. Permutation test: sign flips of the clusters' paired differences (Good, Permutation Tests, 2000).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

_CELLS = 2**22
"""Cells of a resampling matrix held at a time (32 MiB)."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; ``n`` values of ``clusters`` images. All None when there are no values."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean and percentile interval, resampling whole clusters with replacement.

    Where all values agree, or with one cluster, the interval has no width: it then says nothing about certainty.

    Args:
        values: (n,) numbers.
        clusters: (n,) the image that each value belongs to.
        seed: of the resampling; the same input and seed give the same interval.
        resamples: number of bootstrap draws.
        level: of the interval, 0 to 1.

    Raises:
        ValueError: lengths differ, or a value is not finite.
    """
    sums, counts = _by_cluster(np.asarray(values, dtype=np.float64), clusters)
    n, k = int(counts.sum()), len(counts)
    if n == 0:
        return Interval(None, None, None, 0, 0)
    rng = np.random.default_rng(seed)
    means, left = [], resamples
    while left:
        rows = min(left, max(1, _CELLS // k))
        drawn = rng.integers(0, k, size=(rows, k))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
        left -= rows
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(sums.sum() / n), float(low), float(high), n, k)


def paired_permutation(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    seed: int = 0,
    resamples: int = 10_000,
) -> float:
    """Two-sided p-value of "the two runs do equally well on these questions".

    Under that hypothesis the sign of each image's difference is arbitrary. All sign patterns are tried when there are
    at most ``resamples`` of them, else that many are drawn, and the observed one counts as one of them.

    Args:
        first, second: (n,) scores of two runs on the same questions in the same order.
        clusters: (n,) the image that each question belongs to.

    Raises:
        ValueError: lengths differ, or a value is not finite.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired runs have {a.shape} and {b.shape} scores")
    differences, _ = _by_cluster(a - b, clusters)
    differences = differences[differences != 0]
    k = len(differences)
    if k == 0:
        return 1.0
    observed = abs(differences.sum()) - 1e-9
    if k < 63 and 2**k <= resamples:
        signs = 1 - 2 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1)
        return float(np.mean(np.abs(signs @ differences) >= observed))
    rng, extreme, left = np.random.default_rng(seed), 0, resamples
    while left:
        rows = min(left, max(1, _CELLS // k))
        signs = rng.integers(0, 2, size=(rows, k), dtype=np.int8) * 2 - 1
        extreme += int(np.sum(np.abs(signs @ differences) >= observed))
        left -= rows
    return (extreme + 1) / (resamples + 1)


@dataclass(frozen=True)
class Arm:
    """One arm of an ablation over its seeds, and its lead over the reference arm (None for the reference itself).

    Attributes:
        accuracy: mean over seeds and questions; interval by image, for these trained models.
        by_seed: accuracy of each seed, in the order of the seeds.
        seed_sd: standard deviation of ``by_seed`` (n - 1), what training anew changes; None with one seed.
        lead: accuracy minus the reference's, over the seeds that both have; interval by image.
        lead_by_seed: the same of each seed that both have.
        p_value: paired permutation test by image of "no lead" (:func:`paired_permutation`).
        p_holm: ``p_value`` corrected for the number of arms compared (Holm 1979).
    """

    name: str
    accuracy: Interval
    by_seed: tuple[float, ...]
    seed_sd: float | None
    lead: Interval | None = None
    lead_by_seed: tuple[float, ...] = ()
    p_value: float | None = None
    p_holm: float | None = None


Runs = Mapping[str, Mapping[int, Sequence[tuple[str, str, float]]]]
"""Arm to seed to (question id, image id, correct) of every question; ``correct`` is 0 to 1."""


def arm_table(runs: Runs, reference: str, seed: int = 0, resamples: int = 10_000) -> list[Arm]:
    """The table of an ablation: every arm, in the order given, beside the reference arm.

    A question's score is its mean over the seeds, so the interval and the p-value are about these models on new
    images. They say nothing about training anew: look at ``seed_sd`` and at whether ``lead_by_seed`` keeps its sign.

    Args:
        runs: see :data:`Runs`. Every run has the same questions, in any order.
        reference: the arm that the others are compared with.
        seed, resamples: of the resampling.

    Raises:
        ValueError: the reference is no arm, an arm has no seed or none of the reference's, or a run has other
            questions than the first one, the same question twice, or none.
    """
    if reference not in runs:
        raise ValueError(f"the reference {reference!r} is no arm: {', '.join(runs)}")
    if empty := [name for name, seeds in runs.items() if not seeds]:
        raise ValueError(f"arms without a run: {', '.join(empty)}")
    images = {question: image for question, image, _ in next(iter(runs[reference].values()))}
    scores = {name: {s: _in_order(name, s, run, images) for s, run in seeds.items()} for name, seeds in runs.items()}
    clusters = list(images.values())
    arms = [_arm(name, scores[name], scores[reference], name == reference, clusters, seed, resamples) for name in runs]
    corrected = iter(_holm([arm.p_value for arm in arms if arm.p_value is not None]))
    return [replace(arm, p_holm=next(corrected)) if arm.p_value is not None else arm for arm in arms]


def _in_order(arm: str, seed: int, run: Sequence[tuple[str, str, float]], images: Mapping[str, str]) -> np.ndarray:
    """(n,) scores of a run in the order of ``images``."""
    found = {question: (image, float(score)) for question, image, score in run}
    if len(found) != len(run) or not run:
        raise ValueError(f"arm {arm!r}, seed {seed}: a question occurs twice, or there is none")
    if {question: image for question, (image, _) in found.items()} != dict(images):
        raise ValueError(
            f"arm {arm!r}, seed {seed}: its questions or images are not those of the reference's first run"
        )
    return np.array([found[question][1] for question in images])


def _arm(
    name: str,
    own: dict[int, np.ndarray],
    other: dict[int, np.ndarray],
    is_reference: bool,
    clusters: Sequence[str],
    seed: int,
    resamples: int,
) -> Arm:
    seeds = sorted(own)
    by_seed = tuple(float(own[s].mean()) for s in seeds)
    mean = np.mean([own[s] for s in seeds], axis=0)
    spread = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
    arm = Arm(name, bootstrap(mean, clusters, seed, resamples), by_seed, spread)
    if is_reference:
        return arm
    shared = sorted(set(own) & set(other))
    if not shared:
        raise ValueError(f"arm {name!r} shares no seed with the reference")
    a, b = (np.mean([side[s] for s in shared], axis=0) for side in (own, other))
    lead = bootstrap(a - b, clusters, seed, resamples)
    by_shared = tuple(float((own[s] - other[s]).mean()) for s in shared)
    p_value = paired_permutation(a, b, clusters, seed, resamples)
    return replace(arm, lead=lead, lead_by_seed=by_shared, p_value=p_value)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _by_cluster(values: np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(sum, count) of each cluster, in the order of the clusters' names."""
    if values.shape != (len(clusters),):
        raise ValueError(f"{values.shape} values for {len(clusters)} cluster names")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    if len(values) == 0:
        return np.zeros(0), np.zeros(0)
    _, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return np.bincount(place, weights=values), np.bincount(place).astype(np.float64)
