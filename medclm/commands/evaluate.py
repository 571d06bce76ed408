"""``medclm eval`` and ``medclm compare``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Json, Mode, Out

ENDPOINT = "Endpoint"
JUDGE = "Judge (scorer E)"


class Units(StrEnum):
    pixels = "pixels"
    thousand = "thousand"
    unit = "unit"


def evaluate(
    model: Annotated[str, typer.Option("--model", help="Model directory, http://HOST/v1, or a predictions file.")],
    benchmark: Annotated[list[str], typer.Option("--benchmark", help="NAME:DIR, e.g. medclm:DIR or vqa-rad:DIR.")],
    out: Out = Path("eval-out"),
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many questions of a benchmark.")] = None,
    seed: int = 0,
    mode: Mode = Mode.reason,
    controls: Annotated[
        str,
        typer.Option(help="all, none, or of majority, blank, shuffled, text_only and mask those wanted, with commas."),
    ] = "all",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions generated together.")] = 16,
    actors: Annotated[
        int | None,
        typer.Option(min=0, help="Copies of the model on Ray; 0: in this process. Default: one a GPU, or one."),
    ] = None,
    attention: Annotated[bool, typer.Option(help="Measure attention mass inside reference boxes.")] = True,
    served_model: Annotated[str, typer.Option(help="Its name there.", rich_help_panel=ENDPOINT)] = "",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.", rich_help_panel=ENDPOINT)] = 16,
    retries: Annotated[int, typer.Option(min=0, help="Tries after the first.", rich_help_panel=ENDPOINT)] = 5,
    timeout: Annotated[float, typer.Option(help="Seconds of one try.", rich_help_panel=ENDPOINT)] = 60,
    api_key_variable: Annotated[
        str, typer.Option(help="Environment variable with the key.", rich_help_panel=ENDPOINT)
    ] = "OPENAI_API_KEY",
    box_units: Annotated[
        Units, typer.Option(help="What a box in its text is written in.", rich_help_panel=ENDPOINT)
    ] = Units.pixels,
    judge: Annotated[str, typer.Option(help="http://HOST/v1 of a judge.", rich_help_panel=JUDGE)] = "",
    judge_model: Annotated[str, typer.Option(help="Its name there.", rich_help_panel=JUDGE)] = "",
    judge_key_variable: Annotated[
        str, typer.Option(help="Environment variable with its key.", rich_help_panel=JUDGE)
    ] = "OPENAI_API_KEY",
    json: Json = False,
) -> None:
    """Scores beside their controls, grounding, a JSON file and an HTML report. Run again, it goes on."""
    from medclm.config import EvalConfig
    from medclm.eval.endpoint import Endpoint
    from medclm.eval.run import evaluate as run

    named = {"all": True, "none": False}.get(controls, tuple(filter(None, controls.split(","))))
    config = EvalConfig(
        limit=limit, seed=seed, mode=mode.value, controls=named, max_new_tokens=max_new_tokens, batch_size=batch_size,
        actors=actors, attention=attention,
    )  # fmt: skip
    how = Endpoint("", served_model, api_key_variable, concurrency, retries, timeout, box_units.value)
    judging = Endpoint(judge, judge_model, judge_key_variable, concurrency, retries, timeout) if judge else None
    with terminal.progress("eval", quiet=json) as report:
        result = run(model, benchmark, str(out), config, progress=report, endpoint=how, judge=judging)
    if json:
        terminal.show_json(result)
    else:
        from medclm.eval.report import print_summary

        print_summary(result, out)


def compare(
    first: Annotated[Path, typer.Argument(help="OUT of one `medclm eval`, or its predictions.parquet.")],
    second: Annotated[Path, typer.Argument(help="OUT of the other; the lead is the second's over the first's.")],
    out: Annotated[Path | None, typer.Option("--out", help="Directory for compare.json and compare.html.")] = None,
    scorer: Annotated[str, typer.Option(help="strict, or a published definition.")] = "strict",
    seed: int = 0,
    json: Json = False,
) -> None:
    """Two evaluations on the same questions: paired tests, per type, organ and modality, and what changed."""
    from medclm.eval.compare import compare_runs, print_comparison, write_comparison

    result = compare_runs(first, second, scorer=scorer, seed=seed)
    if out is not None:
        write_comparison(out, result)
    if json:
        terminal.show_json(result)
    else:
        print_comparison(result, out)
