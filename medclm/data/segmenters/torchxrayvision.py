"""The segmenter ``torchxrayvision``: 14 chest structures on radiographs (PSPNet of ChestX-Det, package Apache-2.0)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medclm.data.images import to_gray
from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.labels import organ_labels
from medclm.data.segmenters.weights_check import need_package, need_weights
from medclm.errors import UsageError

WEIGHTS = "pspnet_chestxray_best_model_4.pth"
FULL_SCALE = 1024.0
"""torchxrayvision shows black as -1024 and white as 1024."""


def weights_file() -> Path:
    """Where the package looks for the weights."""
    return Path.home() / ".torchxrayvision" / "models_data" / WEIGHTS


def check(argument: str = "") -> None:
    """Raises UsageError when the package or the weights are missing, or an argument is given."""
    if argument:
        raise UsageError("torchxrayvision takes no argument", got=argument)
    need_package("torchxrayvision", "torchxrayvision", "pip install 'medclm[torchxrayvision]'")
    fetch = 'python -c "import torchxrayvision as xrv; xrv.baseline_models.chestx_det.PSPNet()" (needs network)'
    need_weights("torchxrayvision", weights_file(), fetch)


def load(argument: str = "", device: str = "auto") -> ChestXDet:
    """The segmenter with its network."""
    check(argument)
    import torchxrayvision

    from medclm.data.segmenters.unet import pick_device

    network = torchxrayvision.baseline_models.chestx_det.PSPNet()
    return ChestXDet(network, f"torchxrayvision@{version('torchxrayvision')}", pick_device(device))


class ChestXDet:
    """The network of the package as a segmenter.

    Args:
        network: (N, 1, H, W) float32 from -1024 to 1024, H = W = 512, to (N, 14, 512, 512) logits.
    """

    def __init__(self, network: Any, name: str, device: str) -> None:
        self.name, self.device = name, device
        self.network = network.to(device).eval()
        self.organs = organ_labels("torchxrayvision")

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`."""
        return [self._masks(to_gray(image.shown)) for image in images]

    def _masks(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        import torch
        from torch.nn.functional import interpolate

        with torch.inference_mode():
            pixels = torch.from_numpy(picture.astype(np.float32)).to(self.device)[None, None]
            scaled = pixels * (2 * FULL_SCALE / 255) - FULL_SCALE
            inputs = interpolate(scaled, (512, 512), mode="bilinear", antialias=True, align_corners=False)
            logits = interpolate(self.network(inputs).float(), picture.shape, mode="bilinear", align_corners=False)
            masks = (logits[0] > 0).cpu().numpy()
        return {organ: masks[channel] for channel, organ in self.organs.items() if masks[channel].any()}
