"""Whether an optional segmenter can run: its package by name, its weights by file; nothing heavy is imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from medclm.errors import UsageError


def need_package(segmenter: str, module: str, install: str) -> None:
    """Raises UsageError when ``module`` is not installed; ``install`` is the command that installs it."""
    if find_spec(module) is None:
        raise UsageError(
            f"the segmenter {segmenter} needs a package that is not installed",
            expected=f"the Python package {module}",
            got="not installed",
            remedy=install,
        )


def need_weights(segmenter: str, path: Path, fetch: str) -> None:
    """Raises UsageError when the weights are not there. ``path``: a file, or a folder with something in it."""
    if not (any(path.iterdir()) if path.is_dir() else path.is_file()):
        raise UsageError(
            f"the weights of the segmenter {segmenter} are not there",
            where=path,
            expected="weights that you have downloaded; medclm fetches none",
            remedy=fetch,
        )
