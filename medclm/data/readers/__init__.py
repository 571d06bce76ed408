"""Annotation readers: one small file each, all to the same record (:class:`medclm.data.readers.base.ReadResult`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from medclm.data.readers.base import ReadResult
from medclm.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One annotation format.

    Args:
        what: what ``annotations`` is, in a line.
        function: ``module:function`` below this package; imported when it is used.
        options: keyword options of the function with their fixed values; ``reader.KEY=VALUE`` of a build adds others.
    """

    what: str
    function: str
    options: tuple[tuple[str, Any], ...] = ()


FORMATS: dict[str, Format] = {
    "coco": Format("COCO JSON: boxes, polygons, run lengths, attributes", "coco:read_coco"),
}
"""What ``--format`` takes."""


def read(format: str, images: str, annotations: str, dataset: str, options: dict[str, Any] | None = None) -> ReadResult:
    """Reads a dataset in one of :data:`FORMATS`.

    Raises:
        UsageError: the format or an option is unknown. MedclmError: the annotations cannot be read at all.
    """
    found = FORMATS.get(format)
    if found is None:
        known = "; ".join(f"{name} ({entry.what})" for name, entry in FORMATS.items())
        raise UsageError("there is no such annotation format", got=format, expected=known)
    module, _, name = found.function.partition(":")
    function: Callable[..., ReadResult] = getattr(import_module(f"{__name__}.{module}"), name)
    _check_options(format, function, options or {})
    return function(images, annotations, dataset, **{**dict(found.options), **(options or {})})


def _check_options(format: str, function: Callable[..., ReadResult], options: dict[str, Any]) -> None:
    import inspect

    known = list(inspect.signature(function).parameters)[3:]
    for key in options:
        if key not in known:
            expected = ", ".join(known) or "no options"
            raise UsageError(f"the reader {format!r} has no option {key!r}", expected=expected)
