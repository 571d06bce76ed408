"""The working directory that travels to a cluster with a job: which files, how big, and a copy of exactly those.

In a git checkout these are the tracked files and the new ones that no .gitignore names; elsewhere everything that no
.gitignore names but hidden folders, caches and environments. The package ``medclm`` always travels along, so
``python -m medclm.cli`` runs there the code that was submitted, whether or not the cluster's Python has a medclm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medclm.errors import MedclmError, UsageError

SKIPPED_FOLDERS = {"__pycache__", "node_modules", "venv", "env", "build", "dist"}
"""Folders left out outside a git checkout, beside hidden ones and virtual environments."""
IGNORE_FILES = {".gitignore", ".rayignore"}
"""Not copied: Ray would filter the chosen files by them once more."""


@dataclass(frozen=True)
class Entry:
    """A file that travels: its ``/``-separated path in the copy, where it lies now, its bytes."""

    path: str
    source: Path
    size: int


def collect(root: Path) -> list[Entry]:
    """The files of a working directory, sorted by path, with the package ``medclm`` added where it is not in ``root``.

    Links to files are followed, links to folders are left out, as are files that git tracks but that were deleted.

    Raises:
        UsageError: ``root`` is no directory, or has a ``medclm`` folder that is not this package.
    """
    if not root.is_dir():
        raise UsageError("the working directory does not exist", where=root)
    names = _git_files(root)
    entries = _entries(root, _unignored(root, _walk(root)) if names is None else names)
    paths = {entry.path for entry in entries}
    if "medclm/cli.py" not in paths:
        if any(path.startswith("medclm/") for path in paths):
            raise UsageError(
                "the working directory has a folder medclm that is not the package",
                where=root / "medclm",
                remedy="rename it, or submit from another directory",
            )
        package = Path(__file__).resolve().parent
        entries += _entries(package.parent, (f"medclm/{name}" for name in _walk(package)))
    return sorted(entries, key=lambda entry: entry.path)


def _git_files(root: Path) -> list[str] | None:
    """Tracked and new unignored files below ``root``; None outside a git checkout or without git."""
    return _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")


def _unignored(root: Path, names: list[str]) -> list[str]:
    """``names`` without those that a .gitignore in ``root`` or below names, for a folder that is no checkout.

    Raises:
        UsageError: there is a .gitignore, and no git to read it.
    """
    if not any(".gitignore" in files for _, _, files in os.walk(root)):
        return names
    with tempfile.TemporaryDirectory() as folder:  # git's own reading of them, from a repository that is elsewhere
        where = (f"--git-dir={folder}", f"--work-tree={root.resolve()}")
        _git(root, "init", "--quiet", "--bare", folder)
        kept = _git(root, *where, "ls-files", "-z", "--others", "--exclude-standard")
    if kept is None:
        raise UsageError("git is needed to read .gitignore", where=root, remedy="install git, or remove .gitignore")
    return sorted(set(names) & set(kept))


def _git(root: Path, *arguments: str) -> list[str] | None:
    """The null-separated names that git prints; None where it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else [name for name in os.fsdecode(done.stdout).split("\0") if name]


def _walk(root: Path) -> list[str]:
    found = []
    for folder, below, files in os.walk(root):
        below[:] = [
            name
            for name in below
            if not name.startswith(".")
            and name not in SKIPPED_FOLDERS
            and not name.endswith(".egg-info")
            and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        relative = Path(folder).relative_to(root)
        found += [(relative / name).as_posix() for name in files if not name.startswith(".")]
    return found


def _entries(root: Path, names: Iterable[str]) -> list[Entry]:
    files = [(name, root / name) for name in sorted(set(names)) if Path(name).name not in IGNORE_FILES]
    return [Entry(name, source, source.stat().st_size) for name, source in files if source.is_file()]


def total(entries: list[Entry]) -> int:
    """Bytes of all files together."""
    return sum(entry.size for entry in entries)


def check_size(entries: list[Entry], limit_mib: float) -> None:
    """Refuses a working directory over the limit.

    Raises:
        MedclmError: with the five biggest files.
    """
    size = total(entries)
    if size <= limit_mib * 2**20:
        return
    biggest = sorted(entries, key=lambda entry: entry.size, reverse=True)[:5]
    raise MedclmError(
        "the working directory is too big to send",
        expected=f"at most {limit_mib:g} MiB",
        got=f"{size / 2**20:.1f} MiB; the biggest: "
        + ", ".join(f"{entry.path} ({entry.size / 2**20:.1f} MiB)" for entry in biggest),
        remedy="name them in .gitignore, put data on shared storage, or raise --limit-mib",
        exit_code=2,
    )


def stage(entries: list[Entry], target: Path) -> Path:
    """Makes ``target`` a directory with a copy of exactly these files; what was there before is removed."""
    if target.exists():
        shutil.rmtree(target)
    for entry in entries:
        file = target / entry.path
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(entry.source, file)
    return target


def left_behind(arguments: list[str], root: Path, entries: list[Entry]) -> list[str]:
    """Arguments that name a relative path which exists here but does not travel: the job will not find it."""
    paths = {entry.path for entry in entries}
    folders = {parent.as_posix() for path in paths for parent in Path(path).parents}
    found = []
    for text in arguments:
        path = text.rpartition("=")[2]
        if not path or path.startswith("-") or Path(path).is_absolute() or not (root / path).exists():
            continue
        if os.path.normpath(path) not in paths | folders:
            found.append(path)
    return found
