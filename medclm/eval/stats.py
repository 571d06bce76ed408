"""Statistics: how sure a score is. Questions about one image are not independent, so the unit is the image.

Bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval), resampling
whole clusters. Permutation test: sign flips of the clusters' paired differences (Good, Permutation Tests, 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
