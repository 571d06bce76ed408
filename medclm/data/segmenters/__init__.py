"""Segmenters: things that find organs in rendered pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from medclm.data.display import Display
from medclm.data.records import Source, Spacing
from medclm.errors import UsageError

SEGMENTERS = {
    "masks:DIR": "mask files that come with the data, DIR/<image id>/<organ>.png",
    "masks:DIR#ORGAN": "one mask an image, DIR/<image id>.png, of ORGAN",
    "masks:FILE_OR_DIR": "DICOM SEG and RTSTRUCT objects, or NIfTI and NRRD label volumes, that come with the data",
    "unet:phantom": "the shipped U-Net for phantom radiographs",
    "unet:cxr-lungs": "the shipped U-Net for both lungs on frontal chest radiographs",
    "unet:STEM": "a U-Net of your own, STEM.safetensors and STEM.json of `medclm data train-segmenter`",
    "monai-bundle:DIR": "a MONAI bundle",
    "torchscript:FILE": "a network saved by TorchScript (.pt) or torch.export (.pt2), with a .json beside it",
    "torchxrayvision": "14 chest structures on radiographs; package and weights of your own",
    "totalsegmentator[:fast|:fastest]": "117 organs of CT, 50 of MR volumes; package and weights of your own",
    "cxas": "159 chest structures on radiographs (CC BY-NC-SA); package and weights of your own",
    "none": "no organs but those that the annotations hold",
}
"""What ``make_segmenter`` takes, with a line each."""

NETWORKS = {
    "unet": "unet",
    "monai-bundle": "monai_bundle",
    "torchscript": "torchscript",
    "torchxrayvision": "torchxrayvision",
    "totalsegmentator": "totalsegmentator",
    "cxas": "cxas",
    "none": "none",
}
"""Name to module of this package. Each has ``check(argument)`` and ``load(argument, device)``."""
NEEDS_ARGUMENT = {"unet", "monai-bundle", "torchscript"}


@dataclass(frozen=True)
class SegmenterInput:
    """One picture in display orientation, and where it comes from.

    Attributes:
        image_id: as the reader has it; mask files are named by it.
        shown: (H, W) or (H, W, 3) uint8, as rendered.
        values: (H, W) float32, modality units, bright is high.
        source: file, frame and volume.
        display: how stored pixels became ``shown``; masks of stored pixels are turned alike.
        modality: DICOM's code ("CT", "DX"), or "".
        spacing_mm: of the picture, or None.
    """

    image_id: str
    shown: np.ndarray
    values: np.ndarray
    source: Source
    display: Display
    modality: str = ""
    spacing_mm: Spacing | None = None


def picture_input(shown: np.ndarray, image_id: str = "") -> SegmenterInput:
    """A picture of which nothing is known but its pixels, (H, W) or (H, W, 3) uint8, in display orientation."""
    grey = shown if shown.ndim == 2 else shown.mean(axis=2)
    return SegmenterInput(image_id, shown, grey.astype(np.float32), Source(uri="", reader=""), Display())


class Segmenter(Protocol):
    """Organ masks of pictures."""

    name: str
    """Who made the masks; goes into ``Organ.source``."""

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """Segment a batch; sizes may differ.

        Returns:
            For each picture the organs that were found: vocabulary name to (H, W) bool, in display orientation. Empty
            organs are left out.
        """
        ...


def make_segmenter(spec: str, device: str = "auto", cache: str = "") -> Segmenter:
    """The segmenter that ``NAME[:ARGUMENT]`` names; see :data:`SEGMENTERS`.

    Args:
        spec: e.g. ``masks:sample/masks`` or ``unet:phantom``.
        device: "auto" (a GPU where there is one), "cpu", "cuda" …; segmenters without a network ignore it.
        cache: directory where masks of networks are kept between runs, "" for none; see
            :mod:`medclm.data.segmenters.cache`.

    Raises:
        UsageError: the name is not known, its argument is missing, or what it names is not there.
    """
    name, _, argument = spec.partition(":")
    if name == "masks" and argument:
        from medclm.data.segmenters.masks import open_masks

        return open_masks(argument)
    segmenter: Segmenter = _module(spec).load(argument, device)
    if not cache:
        return segmenter
    from medclm.data.segmenters.cache import CachedSegmenter

    return CachedSegmenter(segmenter, cache)


def check_segmenter(spec: str) -> None:
    """Fails as :func:`make_segmenter` would for a wrong name or missing files, without building a network.

    Raises:
        UsageError: the name is not known, or what it names is not there.
    """
    name, _, argument = spec.partition(":")
    if name == "masks":
        make_segmenter(spec)
    else:
        _module(spec).check(argument)


def _module(spec: str) -> Any:
    """The module of a network; none of them imports torch before ``load`` is called."""
    from importlib import import_module

    name, colon, argument = spec.partition(":")
    if name not in NETWORKS or ((colon or name in NEEDS_ARGUMENT) and not argument):
        raise _unknown(spec)
    return import_module(f"medclm.data.segmenters.{NETWORKS[name]}")


def _unknown(spec: str) -> UsageError:
    return UsageError(
        "there is no such segmenter",
        got=spec,
        expected="; ".join(f"{known} ({what})" for known, what in SEGMENTERS.items()),
    )
