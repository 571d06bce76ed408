"""The segmenter ``torchscript:FILE``: any network that was saved whole, by TorchScript or ``torch.export``.

``FILE`` is ``NAME.pt`` (TorchScript) or ``NAME.pt2`` (an exported program); ``NAME.json`` beside it says how to use it
(:class:`NetworkFacts`). Loading such a file runs code that is in it: use files of people you trust.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclm.data.images import to_gray
from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.labels import organs_of
from medclm.errors import MedclmError, UsageError


class NetworkFacts(BaseModel):
    """What goes into the network and what comes out.

    Args:
        labels: organ of the vocabulary (or a synonym) by output channel, or by label value for ``output: "softmax"``.
            Channels that are not named are left out.
        size_hw: the network's input; pictures are resized to it, masks back.
        channels: 1 for grey, 3 for the grey picture three times.
        mean, std: subtracted and divided by, after grey values were scaled to 0 … 1.
        output: "sigmoid": (N, C, H, W) logits, one organ a channel, organ above 0; "softmax": (N, C, H, W) scores of
            classes that exclude each other, the highest wins.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: dict[int, str] = Field(min_length=1)
    size_hw: tuple[int, int]
    channels: Literal[1, 3] = 1
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    output: Literal["sigmoid", "softmax"] = "sigmoid"


class SavedNetwork:
    """A saved network as a segmenter."""

    def __init__(self, name: str, network: Any, facts: NetworkFacts, device: str) -> None:
        self.name, self.network, self.facts, self.device = name, network, facts, device
        self.organs = organs_of(facts.labels, name)

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`."""
        return [self._masks(to_gray(image.shown)) for image in images]

    def _masks(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        import torch
        from torch.nn.functional import interpolate

        facts = self.facts
        with torch.inference_mode():
            pixels = torch.from_numpy(picture.astype(np.float32) / 255).to(self.device)[None, None]
            resized = interpolate(pixels, facts.size_hw, mode="bilinear", antialias=True, align_corners=False)
            scores = self.network(((resized - facts.mean) / facts.std).expand(-1, facts.channels, -1, -1).contiguous())
            if scores.ndim != 4 or scores.shape[1] <= max(self.organs):
                expected = f"(1, {max(self.organs) + 1} or more, H, W)"
                raise MedclmError("the network's output is not as its labels say", where=self.name,
                                  expected=expected, got=tuple(scores.shape))  # fmt: skip
            scores = interpolate(scores.float(), picture.shape, mode="bilinear", align_corners=False)[0]
            if facts.output == "softmax":
                winner = scores.argmax(dim=0).cpu().numpy()
                masks = {organ: winner == value for value, organ in self.organs.items()}
            else:
                masks = {organ: (scores[channel] > 0).cpu().numpy() for channel, organ in self.organs.items()}
        return {organ: mask for organ, mask in masks.items() if mask.any()}


def check(file: str) -> NetworkFacts:
    """The facts of a network whose file is there.

    Raises:
        UsageError: one of the two files is missing. MedclmError: the JSON is not as :class:`NetworkFacts` says.
    """
    path = Path(file)
    missing = [str(p) for p in (path, path.with_suffix(".json")) if not p.is_file()]
    if missing or path.suffix not in (".pt", ".pt2"):
        raise UsageError(
            "the files of the segmenter are not there",
            where=", ".join(missing) or file,
            expected="NAME.pt (TorchScript) or NAME.pt2 (torch.export), and NAME.json",
        )
    try:
        facts = NetworkFacts.model_validate_json(path.with_suffix(".json").read_bytes())
    except ValidationError as error:
        raise MedclmError(
            "the JSON file of the segmenter is wrong", where=path.with_suffix(".json"), got=error
        ) from error
    organs_of(facts.labels, str(path.with_suffix(".json")))
    return facts


def load(file: str, device: str = "auto") -> SavedNetwork:
    """The segmenter with its network.

    Raises:
        UsageError, MedclmError: as :func:`check`; or the file holds no such network.
    """
    import torch

    from medclm.data.segmenters.unet import pick_device

    facts, path, device = check(file), Path(file), pick_device(device)
    digest = hashlib.sha256(path.read_bytes() + path.with_suffix(".json").read_bytes()).hexdigest()
    try:
        if path.suffix == ".pt2":
            network = torch.export.load(path).module().to(device)
        else:
            network = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, BadZipFile) as error:
        expected = "a program of torch.export.save" if path.suffix == ".pt2" else "a module of torch.jit.save"
        raise MedclmError("the network cannot be loaded", where=path, expected=expected, got=error) from error
    return SavedNetwork(f"torchscript:{path.stem}@{digest[:8]}", network, facts, device)
