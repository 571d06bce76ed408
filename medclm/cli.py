"""The ``medclm`` command: its table of commands, and how an error becomes a message and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medclm import __version__, terminal
from medclm.commands import cluster, evaluate, samples, serve, train
from medclm.commands.data import data_app
from medclm.errors import MedclmError, UsageError

app = typer.Typer(
    name="medclm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Detection datasets in; a vision-language model that finds, explains and answers out. "
    "Research software, not a medical device.",
)
app.command()(samples.demo)
app.command()(samples.sample)
app.add_typer(data_app, name="data")
app.command()(train.train)
app.command()(train.tune)
app.command()(train.ablate)
app.command("eval")(evaluate.evaluate)
app.command()(evaluate.compare)
app.command()(train.export)
app.command()(serve.ask)
app.command()(serve.serve)
app.command()(serve.predict)
app.command()(serve.key)
app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(cluster.submit)
app.command()(cluster.doctor)
app.command("pretrain-vision")(train.pretrain_vision)


@app.callback(invoke_without_command=True)
def medclm(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit()


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
