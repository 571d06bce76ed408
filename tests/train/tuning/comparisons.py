"""Comparisons of a search's best with the untuned values, made up."""

from __future__ import annotations


def interval(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high, "n": 300, "clusters": 60}


def comparison(difference: dict, clear: bool) -> dict:
    both = {"untuned": interval(0.5, 0.4, 0.6), "found": interval(0.6, 0.5, 0.7), "by_seed": [[0.5, 0.6]]}
    return both | {"same": False, "difference": difference, "p_value": 0.25, "clear": clear, "seeds": [1]}
