"""``medclm ask`` and ``medclm serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Config, Json, Mode, Overrides


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[str, typer.Option("--model", help="Model directory.")],
    image: Annotated[Path, typer.Option("--image", help="DICOM, PNG or JPEG.")],
    mode: Mode = Mode.reason,
    overlay: Annotated[Path | None, typer.Option(help="PNG to write, with the boxes of the reasoning.")] = None,
    json: Json = False,
) -> None:
    """One answer in the terminal."""
    from dataclasses import asdict

    from medclm.serve.ask import ask as run

    prediction = run(model, image, question, mode.value, overlay)
    if json:
        terminal.show_json(asdict(prediction) | {"steps": [step.model_dump() for step in prediction.steps]})
        return
    rows = {f"{n}. {step.step}": step.text for n, step in enumerate(prediction.steps, start=1)}
    rows |= {"answer": prediction.answer or "(none)", "confidence": f"{prediction.confidence:.2f}"}
    terminal.table(question, rows | ({"overlay": overlay} if overlay else {}))
    terminal.out.print("[dim]Research software, not a medical device.[/]")


def serve(
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option("--model", help="Model directory.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    config: Config = None,
) -> None:
    """The model behind an OpenAI-compatible API and a page, on Ray Serve. Ctrl-C stops it."""
    from medclm import config as configs
    from medclm.serve.app import run_app, wait_app

    settings = configs.load(configs.ServeConfig, config, overrides or (), model=model, host=host, port=port)
    terminal.err.print(f"Starting {settings.model} on Ray Serve …", highlight=False)
    address = run_app(settings)
    terminal.out.print(f"Serving at {address}  (page /, API /v1/chat/completions, Ctrl-C stops)", highlight=False)
    terminal.out.print("[dim]Research software, not a medical device.[/]")
    wait_app(settings.name)
