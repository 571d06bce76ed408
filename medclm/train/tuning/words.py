"""What a search found, in words."""

from __future__ import annotations

from typing import Any


def sentence(comparison: dict[str, Any] | None) -> str:
    """What the comparison says, in words. An interval that holds 0 is no gain."""
    if comparison is None:
        return "What was found was not compared with the untuned values: no seeds were given for it."
    if comparison["same"]:
        return "The untuned values were the best of the search: there is nothing to gain over them here."
    gain = comparison["difference"]
    points = f"{100 * gain['value']:+.1f} points (95 % {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
    if not comparison["clear"]:
        return f"What was found does not beat the untuned values: {points}, an interval that holds 0."
    word = "beats" if gain["value"] > 0 else "is worse than"
    return f"What was found {word} the untuned values by {points}."


def show(value: Any) -> str:
    """A parameter's value: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
