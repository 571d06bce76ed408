"""A configuration from a YAML file, command-line options and dotted ``key=value`` overrides."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from medclm.errors import UsageError

C = TypeVar("C", bound=BaseModel)


def load(
    model: type[C], /, path: str | Path | None = None, overrides: list[str] | tuple[str, ...] = (), **named: Any
) -> C:
    """A validated config of type ``model``.

    Args:
        model: the config class.
        path: a YAML file, or None.
        overrides: dotted ``key=value`` texts; the value is read as YAML. They win over the file.
        named: top-level keys given by command-line options; None means "not given". They win over the file.

    Raises:
        UsageError: the file is missing or no mapping, a key is unknown (with the nearest known one), a value is wrong.
    """
    document = _read(path) if path else {}
    document.update({key: value for key, value in named.items() if value is not None})
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError("an override is not key=value", got=text, expected="e.g. optim.lr=1e-4")
        _set(document, key.strip().split("."), yaml.safe_load(value), text)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _explain(model, error, path) from error


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a config class."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += keys(field.annotation, f"{prefix}{name}.")
    return found


def _read(path: str | Path) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise UsageError("the configuration file does not exist", where=file, remedy="check the path after --config")
    try:
        document = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise UsageError("the configuration file is not YAML", where=file, got=error) from error
    if not isinstance(document, dict):
        raise UsageError("the configuration file is not a mapping", where=file, got=type(document).__name__)
    return document


def _set(document: dict[str, Any], path: list[str], value: Any, text: str) -> None:
    for key in path[:-1]:
        document = document.setdefault(key, {})
        if not isinstance(document, dict):
            raise UsageError("an override goes into a value that is not a mapping", got=text)
    document[path[-1]] = value


def _explain(model: type[BaseModel], error: ValidationError, path: str | Path | None) -> UsageError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    where = path or "the command line"
    if first["type"] == "extra_forbidden":
        near = _nearest(key, keys(model))
        remedy = f"did you mean {near!r}?" if near else f"known keys: {', '.join(keys(model))}"
        return UsageError(f"unknown configuration key {key!r}", where=where, remedy=remedy)
    if first["type"] == "missing":
        return UsageError(f"configuration key {key!r} is missing", where=where, expected=first["msg"])
    return UsageError(f"configuration key {key!r} is wrong", where=where, expected=first["msg"], got=first.get("input"))


def _nearest(key: str, known: list[str]) -> str | None:
    """The known key that ``key`` most likely means: its abbreviation (learning_rate, lr), else the closest spelling."""
    parent, _, last = key.rpartition(".")
    short = f"{parent}.{''.join(word[:1] for word in last.split('_'))}".removeprefix(".")
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return short if short in known else near[0] if near else None
