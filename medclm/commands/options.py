"""What the commands share: options that several take, and how a result is shown."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Out = Annotated[Path, typer.Option("--out", help="Directory to write.")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as dotted key=value; they win over --config.")]


class Mode(StrEnum):
    reason = "reason"
    answer = "answer"


def finish(summary: dict, json: bool, title: str, then: str) -> None:
    """A command's result: JSON for machines, else a table with ``title`` and what to run next."""
    if json:
        terminal.show_json(summary)
        return
    flat: dict = {}
    for key, value in summary.items():
        flat.update(value if key == "counts" else {key: value})
    terminal.table(title, flat)
    if then:
        terminal.out.print(f"Next: [cyan]{then}[/]", soft_wrap=True, highlight=False)
