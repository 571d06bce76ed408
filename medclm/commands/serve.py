"""``medclm ask``, ``medclm serve``, ``medclm predict`` and ``medclm key``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Config, Json, Mode, Overrides, finish


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


def predict(
    source: Annotated[str, typer.Argument(help="Folder of pictures, or Parquet with image or path, and question.")],
    model: Annotated[str, typer.Option("--model", help="Model directory.")],
    out: Annotated[str, typer.Option("--out", help="Folder to write Parquet files of answers to.")],
    question: Annotated[str, typer.Option(help="Asked of every picture that brings no question.")] = "",
    mode: Mode = Mode.reason,
    actors: Annotated[int, typer.Option(help="Model replicas.", min=1)] = 1,
    num_gpus: Annotated[float, typer.Option(help="GPUs of each.", min=0)] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    piece: Annotated[int, typer.Option(help="Pictures in one output file.", min=1)] = 256,
    json: Json = False,
) -> None:
    """Answers about many pictures, through Ray Data. Run again, it resumes."""
    from medclm.serve.bulk import Asking, predict_all
    from medclm.session import ray_session

    asking = Asking(model, question, mode.value, max_new_tokens)
    with ray_session():
        counts = predict_all(source, out, asking, actors, num_gpus, piece)
    finish(counts, json, f"Answers in {out}", "")


def key(name: Annotated[str, typer.Argument(help="Whose key it is.")]) -> None:
    """A new API key: the key itself on stderr, once; its line for a keys file (a hash) on stdout."""
    from medclm.serve.keys import new_key

    secret, line = new_key(name)
    terminal.err.print(secret, highlight=False, soft_wrap=True)
    terminal.out.print(line, highlight=False, soft_wrap=True)
