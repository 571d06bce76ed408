"""``medclm doctor`` on packages: versions against medclm's own metadata, optional ones, and the weights they need."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

VERSIONED = ("ray", "torch", "transformers", "peft", "monai", "pyarrow", "pydicom")
"""Packages whose version is checked against the range in medclm's own metadata."""
OPTIONAL = {
    "s3fs": ("s3:// addresses", "pip install 'medclm[s3]'"),
    "vllm": ("fast rewording of answers and rationales", "pip install vllm"),
    "totalsegmentator": ("117 CT and 50 MR organ classes", "pip install totalsegmentator"),
    "torchxrayvision": ("14 chest structures on radiographs", "pip install torchxrayvision"),
    "cxas": ("159 chest structures on radiographs", "pip install cxas"),
}
"""Optional package: what it is for, and the command that installs it."""
WEIGHTS = {
    "totalsegmentator": (
        "TOTALSEG_HOME_DIR",
        ".totalsegmentator",
        "nnunet/results",
        "totalseg_download_weights -t total",
    ),
    "torchxrayvision": (
        None,
        ".torchxrayvision",
        "models_data",
        "run torchxrayvision.baseline_models.chestx_det.PSPNet()",
    ),
    "cxas": ("CXAS_PATH", "", ".cxas/weights", "run cxas once on a machine with network"),
}
"""Package: variable with its home folder, that folder below ~, the weights in it, and how they get there."""

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One finding. ``warn``: medclm works, with less; ``fail``: something that was asked for will not work."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def _requirements() -> dict[str, Any]:
    """Package name to its Requirement, from medclm's installed metadata (extras left out); empty without an install."""
    from packaging.requirements import Requirement

    try:
        texts = importlib.metadata.requires("medclm") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    parsed = [Requirement(text) for text in texts]
    return {item.name.lower(): item for item in parsed if item.marker is None or "extra" not in str(item.marker)}


def python() -> Check:
    from packaging.specifiers import SpecifierSet

    try:
        wanted = importlib.metadata.metadata("medclm")["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "medclm", "warn", "not installed, runs from its folder: versions are not checked", "pip install -e ."
        )
    version = platform.python_version()
    good = SpecifierSet(wanted).contains(version)
    detail = f"{version} (wanted {wanted}), medclm {importlib.metadata.version('medclm')}"
    return Check("python", "ok" if good else "fail", detail, "" if good else "install Python 3.11 or newer")


def package(name: str) -> Check:
    wanted = _requirements().get(name)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "fail", "not installed", f"pip install {name}")
    if wanted is None:
        return Check(name, "ok", version)
    good = wanted.specifier.contains(version, prereleases=True)
    remedy = "" if good else f"pip install '{name}{wanted.specifier}'"
    return Check(name, "ok" if good else "fail", f"{version} (wanted {wanted.specifier or 'any'})", remedy)


def extra(name: str) -> Check:
    purpose, install = OPTIONAL[name]
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "warn", f"optional, not installed: {purpose}", install)
    if name in WEIGHTS and not _has_files(folder := _weights_folder(name)):
        return Check(name, "warn", f"{version}, weights missing: {folder}", WEIGHTS[name][3])
    return Check(name, "ok", f"{version}: {purpose}")


def _weights_folder(name: str) -> Path:
    variable, home, below, _ = WEIGHTS[name]
    named = os.environ.get(variable) if variable else None
    return Path(named) / below if named else Path.home() / home / below


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.rglob("*"))
