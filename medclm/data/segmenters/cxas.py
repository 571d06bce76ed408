"""The segmenter ``cxas``: 159 chest structures on radiographs (CXAS of Seibold et al.).

Code and weights are CC BY-NC-SA 4.0: for research, not for products. medclm holds neither.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medclm.data.images import to_gray
from medclm.data.segmenters import SegmenterInput
from medclm.data.segmenters.labels import organ_labels
from medclm.data.segmenters.weights_check import need_package, need_weights
from medclm.errors import UsageError

MODEL = "UNet_ResNet50_default"
SIZE = 512
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as the package normalises."""


def weights_file() -> Path:
    """Where the package looks for the weights."""
    return Path(os.environ.get("CXAS_PATH") or Path.home()) / ".cxas" / "weights" / f"{MODEL}.pth"


def check(argument: str = "") -> None:
    """Raises UsageError when the package or the weights are missing, or an argument is given."""
    if argument:
        raise UsageError("cxas takes no argument", got=argument)
    need_package("cxas", "cxas", "pip install cxas (CC BY-NC-SA 4.0)")
    fetch = "python -c \"from cxas import CXAS; CXAS('UNet_ResNet50_default', 'cpu')\" (needs network)"
    need_weights("cxas", weights_file(), fetch)


def load(argument: str = "", device: str = "auto") -> Cxas:
    """The segmenter with its network."""
    check(argument)
    from cxas import CXAS

    from medclm.data.segmenters.unet import pick_device

    device = pick_device(device)
    network = CXAS(model_name=MODEL, gpus=device.partition(":")[2] or "0" if device.startswith("cuda") else "cpu")
    return Cxas(network, f"cxas@{version('cxas')}", device)


class Cxas:
    """The network of the package as a segmenter.

    Args:
        network: takes {"data": (N, 3, 512, 512) float32, normalised}, gives {"logits": (N, 159, 512, 512)}.
    """

    def __init__(self, network: Any, name: str, device: str) -> None:
        self.name, self.device = name, device
        self.network = network.eval()
        self.organs = organ_labels("cxas")

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`."""
        return [self._masks(to_gray(image.shown)) for image in images]

    def _masks(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        import torch
        from torch.nn.functional import interpolate

        with torch.inference_mode():
            pixels = torch.from_numpy(picture.astype(np.float32) / 255).to(self.device)
            mean, deviation = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (MEAN, DEVIATION))
            inputs = interpolate(((pixels - mean) / deviation)[None], (SIZE, SIZE), mode="bilinear", antialias=True)
            logits = self.network({"data": inputs})["logits"][0]
            masks: dict[str, np.ndarray] = {}
            for channel, organ in self.organs.items():  # one at a time: 159 large maps would not fit in small memory
                own = interpolate(logits[None, channel : channel + 1].float(), picture.shape, mode="bilinear")[0, 0]
                mask = (own > 0).cpu().numpy()
                if mask.any():
                    masks[organ] = mask
        return masks
