"""The segmenter ``unet``: a small MONAI U-Net with one sigmoid output an organ, and its files.

A network is two files with one stem: ``STEM.safetensors`` (weights) and ``STEM.json`` (:class:`UnetFacts`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from medclm.data import anatomy
from medclm.data.images import to_gray
from medclm.data.segmenters import SegmenterInput
from medclm.errors import MedclmError, UsageError

SHIPPED = {name: Path(__file__).parent / "weights" / f"unet-{name}" for name in ("phantom", "cxr-lungs")}
"""Networks that come with the package, by name: stems of their files."""

BATCH = 16
"""Pictures that go through the network at once."""


class UnetFacts(BaseModel):
    """What one must know to use the weights, and how they came about.

    Args:
        organs: vocabulary name of each output channel.
        size_hw: the network's input; pictures are resized to it.
        channels: width of each level; every level halves the resolution.
        sha256: hash of the weights file, hex.
        training: settings of the training and versions of the software.
        dice: mean Dice by organ on held-out pictures; empty where none were given.
        worst: lowest Dice by organ on them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = 1
    organs: tuple[str, ...]
    size_hw: tuple[int, int]
    channels: tuple[int, ...]
    sha256: str = ""
    training: dict[str, Any] = {}
    dice: dict[str, float] = {}
    worst: dict[str, float] = {}


def build_network(organs: int, channels: Sequence[int]) -> Any:
    """The untrained network: (N, 3, H, W) float32 of :func:`network_input` to (N, organs, H, W) logits."""
    from monai.networks.nets import UNet

    return UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=organs,
        channels=tuple(channels),
        strides=(2,) * (len(channels) - 1),
        num_res_units=0,
        norm="batch",
    )


def network_input(pictures: Any) -> Any:
    """Grey values to what the network sees: the standardised picture, and x and y from -1 to 1.

    The coordinates let a small network tell left from right.

    Args:
        pictures: (N, 1, H, W) float tensor of grey values, any scale.

    Returns:
        (N, 3, H, W) float tensor.
    """
    import torch

    count, _, height, width = pictures.shape
    mean = pictures.mean(dim=(2, 3), keepdim=True)
    deviation = pictures.std(dim=(2, 3), keepdim=True).clamp_min(1e-3)
    rows = torch.linspace(-1, 1, height, device=pictures.device).view(1, 1, -1, 1).expand(count, 1, height, width)
    cols = torch.linspace(-1, 1, width, device=pictures.device).view(1, 1, 1, -1).expand(count, 1, height, width)
    return torch.cat([(pictures - mean) / deviation, cols, rows], dim=1)


class Unet:
    """A trained network as a segmenter."""

    def __init__(self, name: str, network: Any, facts: UnetFacts, device: str) -> None:
        import torch

        self.name, self.facts, self.device = name, facts, device
        self.network = network.to(device=device, memory_format=torch.channels_last).eval()

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`. Neighbours of one size are resized and run as one batch."""
        found: list[dict[str, np.ndarray]] = []
        for _, group in groupby((to_gray(image.shown) for image in images), key=lambda picture: picture.shape):
            same_size = list(group)
            for start in range(0, len(same_size), BATCH):
                masks = self._masks(np.stack(same_size[start : start + BATCH]))
                found += [
                    {organ: mask for organ, mask in zip(self.facts.organs, one, strict=True) if mask.any()}
                    for one in masks
                ]
        return found

    def _masks(self, batch: np.ndarray) -> list[np.ndarray]:
        """(N, H, W) uint8 to N times (organs, H, W) bool."""
        import torch
        from torch.nn.functional import interpolate

        with torch.inference_mode():
            pixels = torch.from_numpy(batch).to(self.device)[:, None].float()
            resized = interpolate(pixels, self.facts.size_hw, mode="bilinear", antialias=True, align_corners=False)
            inputs = network_input(resized).contiguous(memory_format=torch.channels_last)
            found = []
            for logits in self.network(inputs).float().split(1):  # one by one stays in the cache: twice as fast as all
                enlarged = interpolate(logits.contiguous(), batch.shape[1:], mode="bilinear", align_corners=False)
                found.append((enlarged[0] > 0).cpu().numpy())
            return found


def pick_device(device: str) -> str:
    """The best device there is for "auto"; any other name as it is."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def load(argument: str, device: str = "auto") -> Unet:
    """The network of a shipped name or of a stem.

    Args:
        argument: a name of :data:`SHIPPED`, or the stem of two files of your own.
        device: "auto", "cpu", "cuda" …

    Raises:
        UsageError: the files are not there.
        MedclmError: they are damaged or do not belong together.
    """
    from safetensors.torch import load as load_tensors

    stem, facts, weights = read(argument)
    digest = facts.sha256
    network = build_network(len(facts.organs), facts.channels)
    try:
        network.load_state_dict(load_tensors(weights))
    except RuntimeError as error:
        raise _damaged(stem, str(error)) from error
    name = argument if argument in SHIPPED else stem.name
    return Unet(f"unet:{name}@{digest[:8]}", network, facts, pick_device(device))


def check(argument: str) -> None:
    """Raises what :func:`load` would for missing or damaged files, without building the network: that takes seconds."""
    read(argument)


def read(argument: str) -> tuple[Path, UnetFacts, bytes]:
    """(stem, facts, weights' bytes) of a network.

    Raises:
        UsageError, MedclmError: as :func:`load`.
    """
    stem = SHIPPED.get(argument, Path(argument))
    facts, weights = _read_files(stem)
    if hashlib.sha256(weights).hexdigest() != facts.sha256:
        raise _damaged(stem, "the weights are not those that the JSON file was written for")
    return stem, facts, weights


def _read_files(stem: Path) -> tuple[UnetFacts, bytes]:
    paths = facts_path, weights_path = Path(f"{stem}.json"), Path(f"{stem}.safetensors")
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise UsageError(
            "the weights of the segmenter are not there",
            where=", ".join(missing),
            expected=f"a shipped name ({', '.join(SHIPPED)}) or the stem of a .safetensors and a .json file",
            remedy="train one with: medclm data train-segmenter --data DIR --out STEM",
        )
    try:
        facts = UnetFacts.model_validate_json(facts_path.read_bytes())
    except ValidationError as error:
        raise _damaged(stem, str(error)) from error
    unknown = [organ for organ in facts.organs if organ not in anatomy.organs()]
    if unknown:
        raise _damaged(stem, f"unknown organs {', '.join(unknown)}")
    return facts, weights_path.read_bytes()


def _damaged(stem: Path, got: str) -> MedclmError:
    return MedclmError(
        "the files of the segmenter cannot be used",
        where=f"{stem}.json, {stem}.safetensors",
        expected="the two files that `medclm data train-segmenter` wrote together",
        got=got,
        remedy="copy or train them again",
    )


def save_unet(stem: Path, network: Any, facts: UnetFacts) -> UnetFacts:
    """Write both files; returns the facts with the hash of the weights.

    Weights are stored in half precision: half the size, and masks that differ in a few pixels at most.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    weights = save(state)
    facts = facts.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    stem.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{stem}.safetensors").write_bytes(weights)
    write_facts(stem, facts)
    return facts


def write_facts(stem: Path, facts: UnetFacts) -> None:
    """Write ``STEM.json``."""
    Path(f"{stem}.json").write_text(json.dumps(facts.model_dump(mode="json"), indent=2) + "\n")
