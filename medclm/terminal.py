"""What a person sees in the terminal: progress, tables, errors; plain lines where there is no terminal."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from medclm.errors import MedclmError

out = Console()
err = Console(stderr=True)

Report = Callable[..., None]
"""Called with (done, total) and, optionally, what is being done."""


@contextmanager
def progress(label: str, quiet: bool = False) -> Iterator[Report]:
    """A progress bar in a terminal; elsewhere a line at each tenth. On stderr; ``quiet`` shows nothing."""
    if quiet:
        yield lambda done, total, what="": None
    elif err.is_terminal:
        columns = (TextColumn("{task.description:<28}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=err) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total, what="": bar.update(task, completed=done, total=total)
    else:
        seen = {-1}

        def line(done: int, total: int, what: str = "") -> None:
            tenth = 10 * done // max(total, 1)
            if tenth not in seen:
                seen.add(tenth)
                print(f"{label}: {done}/{total}", file=sys.stderr, flush=True)

        yield line


def table(title: str, rows: Mapping[str, Any]) -> None:
    """A title and two columns, name and value, on stdout."""
    out.print(f"[bold]{escape(title)}[/]", soft_wrap=True, highlight=False)
    grid = Table(show_header=False, pad_edge=False, box=None, padding=(0, 1, 0, 0))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        grid.add_row(escape(str(name)), escape(as_text(value)))
    out.print(grid)


def as_text(value: object) -> str:
    """A value on one line: mappings as ``key value``, lists joined by commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def show_json(value: object) -> None:
    """``value`` as JSON on stdout, for machines."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def show_error(error: MedclmError) -> None:
    """The error on stderr: what in red, then its details; no traceback."""
    what, *details = error.message().split("\n")
    err.print(f"[bold red]error:[/] {escape(what)}", soft_wrap=True, highlight=False)
    for line in details:
        err.print(escape(line), soft_wrap=True, highlight=False)


def quiet_libraries() -> None:
    """Keeps the progress bars and warnings of libraries off the terminal, here and in the processes started from here.

    ``--debug`` leaves them on. Errors are not touched.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", module=r"torch\..*|transformers\..*|monai\..*|ray\..*")
