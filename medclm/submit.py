"""A medclm command as a job of a Ray cluster: ``ray job submit`` with a filtered working directory and the token.

The line that a dry run shows is the line that is run. Its submission id is derived from the command, so the same
command cannot run twice at once by mistake; after it has ended it can be submitted again (``-2``, ``-3``, …).
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medclm import workdir
from medclm.errors import MedclmError, UsageError
from medclm.raycluster import ADDRESS_VARIABLES, Cluster, Job, UnreachableError
from medclm.storage import fingerprint

RUNTIME_ENV = "cluster/runtime_env.yaml"
"""Used, relative to the working directory, where it exists."""


@dataclass(frozen=True)
class JobResult:
    """What became of a submission.

    Attributes:
        line: the shell line that was run, or would be.
        status: Ray's job status, ``DRY-RUN``, or ``SUBMITTED`` without ``follow``.
        exit_code: of the job; 0 for a dry run and for a submission that was not followed to its end.
        files, size_bytes: of the working directory.
    """

    submission_id: str
    line: str
    status: str
    exit_code: int
    files: int
    size_bytes: int


def submit(
    command: list[str],
    address: str | None = None,
    dry_run: bool = False,
    follow: bool = True,
    limit_mib: float = 100,
    submission_id: str | None = None,
    root: Path | None = None,
    say: Callable[[str], None] = print,
    quiet: bool = False,
) -> JobResult:
    """Runs a medclm command on a cluster, with the working directory that :mod:`medclm.workdir` describes.

    Args:
        command: a command line without ``medclm``, e.g. ``["data", "build", "--out", "s3://…"]``.
        address: the cluster, see :func:`medclm.raycluster.resolve_address`.
        dry_run: prepare everything, keep the copied files, and run nothing. Needs no cluster.
        follow: print the job's output and wait for its end; otherwise return once it is accepted.
        limit_mib: the largest working directory that is sent.
        submission_id: the job's name; derived from the command when None.
        root: the directory that is sent; the current one when None.
        say: receives the lines meant for the user.
        quiet: what `ray job submit` itself prints is kept back, unless it fails.

    Raises:
        UsageError: the command is empty or a ``submit`` itself; the working directory cannot be sent.
        MedclmError: the directory is too big, the cluster does not answer, the token is missing or refused, the
            same command is running.
    """
    command = _checked(command)
    root = root or Path.cwd()
    entries = workdir.collect(root)
    size = workdir.total(entries)
    say(f"working directory: {len(entries)} files, {size / 2**20:.1f} MiB (limit {limit_mib:g} MiB)")
    workdir.check_size(entries, limit_mib)
    for path in workdir.left_behind(command, root, entries):
        say(f"note: {path} exists here but is not sent; the job needs it on shared storage")
    cluster = Cluster(address)
    name = _free_id(cluster, submission_id, command, dry_run)
    target = _staging_folder() / name
    workdir.stage(entries, target)
    argv = _argv(cluster, command, name, target, follow)
    line = shlex.join(argv)
    say(line)
    if dry_run:
        return JobResult(name, line, "DRY-RUN", 0, len(entries), size)
    try:
        status, code = _run(argv, cluster, name, follow, say, quiet)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return JobResult(name, line, status, code, len(entries), size)


def stop(submission_id: str, address: str | None = None, wait_s: float = 60.0) -> Job:
    """Ends a job, and waits until it has ended.

    Raises:
        MedclmError: the cluster does not know the job, or it has not ended after ``wait_s`` seconds.
    """
    cluster = Cluster(address)
    cluster.stop(submission_id)
    return _wait(cluster, submission_id, wait_s)


def logs(submission_id: str, address: str | None = None) -> str:
    """What a job has printed up to now.

    Raises:
        MedclmError: the cluster does not know the job.
    """
    return Cluster(address).logs(submission_id)


def follow(submission_id: str, address: str | None = None, say: Callable[[str], None] = print) -> Job:
    """Passes on what a job prints, from its start, until it ends."""
    cluster = Cluster(address)
    shown = 0
    while True:
        begin = time.monotonic()
        job = cluster.job(submission_id)
        lines = cluster.logs(submission_id).splitlines()
        complete = len(lines) if job.ended else len(lines) - 1
        for text in lines[shown:complete]:
            say(text)
        shown = max(shown, complete)
        if job.ended:
            return job
        time.sleep(max(0.5, 5 * (time.monotonic() - begin)))  # the whole log comes each time: slower as it grows


def job_id(command: list[str]) -> str:
    """The submission id of a command: its words and the fingerprint of all its arguments; time plays no part."""
    words = command[:2] if command[0] in ("data", "sample") else command[:1]
    return "-".join(["medclm", *words, fingerprint(command)[:10]])


def _checked(command: list[str]) -> list[str]:
    command = command[1:] if command[:1] == ["medclm"] else list(command)
    if not command or command[0].startswith("-"):
        raise UsageError(
            "there is no command to submit", got=shlex.join(command), expected="medclm submit -- data build …"
        )
    if command[0] == "submit":
        raise UsageError("a submitted command cannot be submit", got=shlex.join(command))
    return command


def _free_id(cluster: Cluster, wanted: str | None, command: list[str], dry_run: bool) -> str:
    """The id to use; a dry run takes the first one where no cluster answers."""
    base = wanted or job_id(command)
    try:
        known = {job.submission_id: job for job in cluster.jobs()}
    except UnreachableError:
        if dry_run:
            return base
        raise
    number, name = 1, base
    while name in known:
        if not known[name].ended:
            raise MedclmError(
                "this command is running already",
                where=cluster.address,
                got=f"{name} ({known[name].status})",
                remedy=_next_steps(cluster, name),
            )
        if wanted:
            raise UsageError("the submission id was used before", where=cluster.address, got=wanted)
        number += 1
        name = f"{base}-{number}"
    return name


def _next_steps(cluster: Cluster, name: str) -> str:
    """The lines that show and end a running job."""
    ray = "RAY_AUTH_MODE=token ray job" if cluster.token else "ray job"
    where = f"--address {cluster.address}"
    return f"follow it with `{ray} logs {where} --follow {name}`, end it with `{ray} stop {where} {name}`"


def _staging_folder() -> Path:
    """A folder of this user only, below the system's temporary directory."""
    user = hashlib.sha256(f"{os.getuid()}:{Path.home()}".encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"medclm-submit-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise MedclmError("the staging folder belongs to another user", where=folder, remedy="set TMPDIR")
    return folder


def _argv(cluster: Cluster, command: list[str], name: str, folder: Path, follow: bool) -> list[str]:
    """The arguments of ``ray job submit``, after ``env`` where Ray needs a variable set or out of the way."""
    misleading = [key for key in ADDRESS_VARIABLES if os.environ.get(key) not in (None, cluster.address)]
    variables = [part for key in misleading for part in ("-u", key)]
    if cluster.token and "RAY_AUTH_MODE" not in os.environ:
        variables.append("RAY_AUTH_MODE=token")
    argv = ["env", *variables] if variables else []
    argv += [_ray(), "job", "submit", "--address", cluster.address, "--submission-id", name]
    if (folder / RUNTIME_ENV).is_file():
        argv += ["--runtime-env", str(folder / RUNTIME_ENV)]
    argv += ["--working-dir", str(folder)]
    argv += [] if follow else ["--no-wait"]
    return [*argv, "--", "python", "-m", "medclm.cli", *command]


def _ray() -> str:
    """The ``ray`` command of this Python: by its name where that is what the shell would run."""
    own = shutil.which("ray", path=str(Path(sys.executable).parent))
    named = shutil.which("ray")
    if own is None and named is None:
        raise MedclmError("the ray command is not installed", remedy="pip install 'ray[default]'")
    return "ray" if own in (None, named) else str(own)


def _run(
    argv: list[str], cluster: Cluster, name: str, follow: bool, say: Callable[[str], None], quiet: bool
) -> tuple[str, int]:
    sys.stdout.flush()
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if quiet else {}
    try:
        done = subprocess.run(argv, check=False, **kept)  # type: ignore[call-overload]
    except KeyboardInterrupt:
        say(f"not followed any further, the job goes on; {_next_steps(cluster, name)}")
        return cluster.job(name).status, 130
    if not follow and done.returncode == 0:
        return "SUBMITTED", 0
    if name not in {job.submission_id for job in cluster.jobs()}:
        said = f": {done.stdout[-2000:]}" if quiet else "; its message is above"
        raise MedclmError(f"ray job submit failed{said}", where=cluster.address, got=done.returncode)
    job = _wait(cluster, name, None)
    return job.status, job.exit_code or 0


def _wait(cluster: Cluster, name: str, wait_s: float | None) -> Job:
    begin = time.monotonic()
    while not (job := cluster.job(name)).ended:
        if wait_s is not None and time.monotonic() - begin > wait_s:
            raise MedclmError("the job has not ended", where=name, got=f"{job.status} after {wait_s:g} s")
        time.sleep(0.5)
    return job
