"""The searched space of a tuning: dotted TrainConfig keys with their choices, checked, and what can be drawn."""

from __future__ import annotations

import copy
import difflib
import itertools
import math
from typing import Any

from pydantic import BaseModel, ValidationError

from medclm.config import Choice, TrainConfig, keys
from medclm.errors import UsageError

INCOMPARABLE = {"steps", "evaluate_every", "evaluate_limit"}
"""Not searchable: trials with other values of these cannot be compared at equal steps on equal questions."""

LARGEST_GRID = 1000


class Space:
    """A checked space.

    Args:
        space: dotted key to choice.
        train: the configuration it is searched around; its own values are tried first where the space has them.

    Raises:
        UsageError: a key is unknown (with the nearest known one) or not searchable, or a choice is wrong for it.
    """

    def __init__(self, space: dict[str, Choice], train: TrainConfig) -> None:
        if not space:
            raise UsageError(
                "the space is empty", where="space", expected="e.g. loss.localization: {low: 0.03, high: 3}"
            )
        for key, choice in space.items():
            _check_key(key)
            _check_choice(key, choice, train)
        self.space, self.train = space, train

    def start(self) -> dict[str, Any] | None:
        """The untuned values; None where one of them is outside its choice."""
        document = self.train.model_dump(mode="json")
        values = {key: _get(document, key) for key in self.space}
        return values if all(_contains(choice, values[key]) for key, choice in self.space.items()) else None

    def whole(self, key: str) -> bool:
        """Whether a parameter takes whole numbers."""
        value = _get(self.train.model_dump(), key)
        return isinstance(value, int) and not isinstance(value, bool)

    def grid(self) -> list[dict[str, Any]]:
        """Every combination, the last key fastest; of a range its ``points`` values, evenly or by equal factors.

        Raises:
            UsageError: there are more than :data:`LARGEST_GRID`.
        """
        axes = {key: self._points(key) for key in self.space}
        size = math.prod(len(values) for values in axes.values())
        if size > LARGEST_GRID:
            raise UsageError(
                "the grid is too large", where="space", expected=f"at most {LARGEST_GRID} combinations", got=size,
                remedy="fewer parameters or points, or search: optuna",
            )  # fmt: skip
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

    def distributions(self) -> dict[str, Any]:
        """Optuna's distribution of each key. A list of values is drawn by its index: see :meth:`decode`."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, Any] = {}
        for key, choice in self.space.items():
            if choice.values is not None:
                found[key] = CategoricalDistribution(range(len(choice.values)))
            elif self.whole(key):
                found[key] = IntDistribution(int(choice.low or 0), int(choice.high or 0), log=choice.log)
            else:
                found[key] = FloatDistribution(choice.low or 0.0, choice.high or 0.0, log=choice.log)
        return found

    def decode(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """Optuna's values as those of the configuration: an index becomes the value it stands for."""
        return {key: value if (listed := self.space[key].values) is None else listed[value]
                for key, value in drawn.items()}  # fmt: skip

    def encode(self, values: dict[str, Any]) -> dict[str, Any]:
        """The inverse of :meth:`decode`."""
        return {key: value if (listed := self.space[key].values) is None else listed.index(value)
                for key, value in values.items()}  # fmt: skip

    def clip(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values that left their range, put back to its nearer end."""
        found = dict(values)
        for key, choice in self.space.items():
            if choice.low is not None and choice.high is not None:
                low, high = (int(choice.low), int(choice.high)) if self.whole(key) else (choice.low, choice.high)
                found[key] = min(max(values[key], low), high)
        return found

    def _points(self, key: str) -> list[Any]:
        choice = self.space[key]
        if choice.values is not None:
            return list(choice.values)
        low, high, steps = choice.low or 0.0, choice.high or 0.0, choice.points - 1
        shares = [step / steps for step in range(choice.points)]
        points = [low * (high / low) ** s if choice.log else low + (high - low) * s for s in shares]
        if self.whole(key):
            return sorted({round(point) for point in points})
        return [low, *(float(f"{point:.6g}") for point in points[1:-1]), high]


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings: ``{"a.b": 1}`` gives ``{"a": {"b": 1}}``."""
    document: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        place = document
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return document


def merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``top`` on it, mappings merged key by key; both stay as they are."""
    result = copy.deepcopy(base)
    for key, value in top.items():
        inner = result.get(key)
        result[key] = (
            merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else copy.deepcopy(value)
        )
    return result


def applied(train: TrainConfig, values: dict[str, Any]) -> TrainConfig:
    """``train`` with dotted values put in, validated again."""
    return TrainConfig.model_validate(merge(train.model_dump(), nested(values)))


def _get(document: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        document = document[name]
    return document


def _is_group(key: str) -> bool:
    model: Any = TrainConfig
    for name in key.split("."):
        model = model.model_fields[name].annotation
    return isinstance(model, type) and issubclass(model, BaseModel)


def _check_key(key: str) -> None:
    known = [name for name in keys(TrainConfig) if not _is_group(name) and name not in INCOMPARABLE]
    if key in known:
        return
    where = f"space.{key}"
    if key in INCOMPARABLE:
        raise UsageError("this parameter cannot be searched: its trials would not be comparable", where=where)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    remedy = f"did you mean {near[0]!r}?" if near else f"known parameters: {', '.join(known)}"
    raise UsageError(f"unknown training parameter {key!r}", where=where, remedy=remedy)


def _check_choice(key: str, choice: Choice, train: TrainConfig) -> None:
    where, ends = f"space.{key}", [choice.low, choice.high]
    if choice.values is not None:
        if ends != [None, None] or choice.log or not choice.values:
            raise UsageError("a choice is a list of values or a range", where=where, got=choice.model_dump())
        tried = choice.values
    else:
        if choice.low is None or choice.high is None or choice.low >= choice.high or (choice.log and choice.low <= 0):
            expected = "low < high, and low > 0 with log"
            raise UsageError("a range is wrong", where=where, expected=expected, got=choice.model_dump())
        value = _get(train.model_dump(), key)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and not (choice.low.is_integer() and choice.high.is_integer()):
            raise UsageError("this parameter takes whole numbers", where=where, got=ends)
        tried = [int(end) if whole else end for end in (choice.low, choice.high)]
    for value in tried:
        try:
            applied(train, {key: value})
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise UsageError("a value is wrong for this parameter", where=where, expected=message, got=value) from error


def _contains(choice: Choice, value: Any) -> bool:
    if choice.values is not None:
        return value in choice.values
    return (
        isinstance(value, (int, float))
        and choice.low is not None
        and choice.high is not None
        and choice.low <= value <= choice.high
    )
