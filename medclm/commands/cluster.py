"""``medclm submit`` and ``medclm doctor``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Json


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


def doctor(
    address: Annotated[str | None, typer.Option(help="A cluster whose nodes are asked, e.g. http://HEAD:8265.")] = None,
    storage: Annotated[str | None, typer.Option(help="Directory or URL to try a write in.")] = None,
    json: Json = False,
) -> None:
    """What is installed, what is missing, and the remedy; with --address also on every node of a cluster."""
    from medclm.doctor import as_json, diagnose, failed, render

    found = diagnose(address, storage)
    if json:
        terminal.show_json(as_json(found))
    else:
        render(found)
    raise typer.Exit(int(failed(found.checks)))
