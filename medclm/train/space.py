"""The searched space of a tuning: dotted TrainConfig keys with their choices, checked, in Ray Tune's terms."""

from __future__ import annotations

import copy
import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

from medclm.config import Choice, TrainConfig, keys
from medclm.errors import UsageError

INCOMPARABLE = {"steps", "evaluate_every", "evaluate_limit"}
"""Not searchable: trials with other values of these cannot be compared at equal steps on equal questions."""


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

    def domains(self) -> dict[str, Any]:
        """Ray Tune's domain of each key; whole numbers for whole-number keys, both ends included."""
        return {key: _domain(key, choice, self.train) for key, choice in self.space.items()}

    def start(self) -> dict[str, Any] | None:
        """The untuned values; None where one of them is outside its choice."""
        document = self.train.model_dump()
        values = {key: _get(document, key) for key in self.space}
        return values if all(_contains(choice, values[key]) for key, choice in self.space.items()) else None

    def searcher(self, name: str, metric: str, mode: str, seed: int, concurrent: int) -> Any:
        """Ray Tune's search algorithm, seeded, the untuned values first, at most ``concurrent`` trials at once.

        Args:
            name: ``random`` or ``optuna`` (TPE).
        """
        start = self.start()
        first = [start] if start else None
        if name == "optuna":
            from ray.tune.search import ConcurrencyLimiter
            from ray.tune.search.optuna import OptunaSearch

            search = OptunaSearch(metric=metric, mode=mode, points_to_evaluate=first, seed=seed)
            return ConcurrencyLimiter(search, max_concurrent=concurrent)
        from ray.tune.search.basic_variant import BasicVariantGenerator

        return BasicVariantGenerator(points_to_evaluate=first, max_concurrent=concurrent, random_state=seed)


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
        whole = _is_whole(key, train)
        if whole and not (choice.low.is_integer() and choice.high.is_integer()):
            raise UsageError("this parameter takes whole numbers", where=where, got=ends)
        tried = [int(end) if whole else end for end in (choice.low, choice.high)]
    for value in tried:
        try:
            TrainConfig.model_validate(merge(train.model_dump(), nested({key: value})))
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise UsageError("a value is wrong for this parameter", where=where, expected=message, got=value) from error


def _is_whole(key: str, train: TrainConfig) -> bool:
    value = _get(train.model_dump(), key)
    return isinstance(value, int) and not isinstance(value, bool)


def _domain(key: str, choice: Choice, train: TrainConfig) -> Any:
    from ray import tune

    if choice.values is not None:
        return tune.choice(choice.values)
    low, high = choice.low or 0.0, choice.high or 0.0
    if _is_whole(key, train):
        draw = tune.lograndint if choice.log else tune.randint
        return draw(int(low), int(high) + 1)
    return (tune.loguniform if choice.log else tune.uniform)(low, high)


def _contains(choice: Choice, value: Any) -> bool:
    if choice.values is not None:
        return value in choice.values
    return choice.low is not None and choice.high is not None and choice.low <= value <= choice.high
