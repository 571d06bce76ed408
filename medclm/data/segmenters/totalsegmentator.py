"""The segmenter ``totalsegmentator``: 117 organs of a CT or 50 of an MR volume (package TotalSegmentator, Apache-2.0).

``totalsegmentator`` works at 1.5 mm, ``totalsegmentator:fast`` at 3 mm, ``totalsegmentator:fastest`` at 6 mm. The
weights of the tasks "total" and "total_mr" are downloaded by the user, not by medclm. The package sends usage
statistics to its authors unless ``send_usage_stats`` in its own ``config.json`` is false.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.label_volume import LabelVolume
from medclm.data.segmenters.labels import organ_labels
from medclm.data.segmenters.volumetric import VolumeSegmenter
from medclm.data.segmenters.weights_check import need_package, need_weights
from medclm.errors import MedclmError, UsageError

MODES = ("", "fast", "fastest")
TASKS = {"CT": ("total", "totalsegmentator_ct"), "MR": ("total_mr", "totalsegmentator_mr")}
"""DICOM modality to TotalSegmentator's task and the list of its labels."""
WEIGHTS = {
    "CT": {"": "Dataset291_*", "fast": "Dataset297_*", "fastest": "Dataset298_*"},
    "MR": {"": "Dataset850_*", "fast": "Dataset852_*", "fastest": "Dataset853_*"},
}
"""Folder of the (first) network by modality and mode, as TotalSegmentator 2 names it."""
DOWNLOADS = {"CT": ("total", "total_fast"), "MR": ("total_mr", "total_fast_mr")}
"""What ``totalseg_download_weights -t`` calls them: full resolution, and the two fast modes together."""


def weights_dir() -> Path:
    """Where TotalSegmentator 2 looks for weights (its ``config.get_weights_dir``)."""
    if named := os.environ.get("TOTALSEG_WEIGHTS_PATH"):
        return Path(named)
    home = os.environ.get("TOTALSEG_HOME_DIR")
    return (Path(home) if home else Path.home() / ".totalsegmentator") / "nnunet" / "results"


def check(mode: str = "", modality: str = "CT") -> None:
    """Raises UsageError when the mode is unknown, or the package or the weights of the mode are missing."""
    if mode not in MODES:
        raise UsageError("totalsegmentator has no such mode", got=mode, expected="fast, fastest, or none")
    need_package("totalsegmentator", "totalsegmentator", "pip install 'medclm[totalsegmentator]'")
    folder = WEIGHTS[modality][mode]
    found = sorted(weights_dir().glob(folder)) or [weights_dir() / folder]
    fetch = f"totalseg_download_weights -t {DOWNLOADS[modality][bool(mode)]} (needs network)"
    need_weights("totalsegmentator", found[0], fetch)


def load(mode: str = "", device: str = "auto") -> VolumeSegmenter:
    """The segmenter; the networks are loaded by the package, for each volume."""
    check(mode)
    name = f"totalsegmentator{':' + mode if mode else ''}@{version('TotalSegmentator')}"

    def segment(image: SegmenterInput) -> LabelVolume:
        return run(image, mode, device)

    return VolumeSegmenter(name, segment)


def run(image: SegmenterInput, mode: str, device: str) -> LabelVolume:
    """The labels of the volume that ``image`` is a slice of.

    Raises:
        MedclmError: the modality is neither CT nor MR. UsageError: the weights for it are missing.
    """
    from totalsegmentator.python_api import totalsegmentator

    from medclm.data.segmenters.series import load_volume
    from medclm.data.segmenters.unet import pick_device

    if image.modality not in TASKS:
        raise MedclmError(
            "totalsegmentator takes CT and MR volumes",
            where=image.source.volume,
            expected="modality CT or MR",
            got=image.modality or "no modality",
        )
    check(mode, image.modality)  # the package would download what is missing
    task, names = TASKS[image.modality]
    found = totalsegmentator(
        load_volume(image.source.volume),
        output=None,
        ml=True,
        task=task,
        fast=mode == "fast",
        fastest=mode == "fastest",
        device=pick_device(device).replace("cuda", "gpu"),
        quiet=True,
    )
    return LabelVolume(np.asarray(found.dataobj).astype(np.int32), found.affine, organ_labels(names))
