"""``medclm eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Json, Mode, Out


def evaluate(
    model: Annotated[str, typer.Option("--model", help="Model directory.")],
    benchmark: Annotated[list[str], typer.Option("--benchmark", help="NAME:DIR, e.g. medclm:DIR or vqa-rad:DIR.")],
    out: Out = Path("eval-out"),
    limit: Annotated[int | None, typer.Option(help="At most this many questions of a benchmark.")] = None,
    seed: int = 0,
    mode: Mode = Mode.reason,
    json: Json = False,
) -> None:
    """Scores beside their controls, grounding, a JSON file and an HTML report."""
    from medclm.eval.run import evaluate as run

    with terminal.progress("eval", quiet=json) as report:
        result = run(model, benchmark, str(out), limit=limit, seed=seed, mode=mode.value, progress=report)
    if json:
        terminal.show_json(result)
    else:
        from medclm.eval.report import print_summary

        print_summary(result, out)
