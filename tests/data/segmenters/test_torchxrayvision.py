"""What goes into the ChestX-Det network and what is made of its output; the weights themselves cannot be had here."""

from __future__ import annotations

import numpy as np
import torch

from medclm.data.segmenters import picture_input
from medclm.data.segmenters.torchxrayvision import ChestXDet


class Bright(torch.nn.Module):
    """Of the package's shape: (N, 1, 512, 512) to 14 logits; the left lung (channel 4) is what is above mid-grey."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1:] == (1, 512, 512)
        self.range = float(x.min()), float(x.max())
        logits = torch.full((len(x), 14, 512, 512), -1.0)
        logits[:, 4] = x[:, 0]
        logits[:, 11] = 1.0
        return logits


def test_grey_values_are_scaled_and_masks_come_back_at_the_pictures_size():
    network = Bright()
    segmenter = ChestXDet(network, "torchxrayvision@1", "cpu")
    picture = np.zeros((60, 40), np.uint8)
    picture[:, 20:] = 255
    (masks,) = segmenter([picture_input(np.stack([picture] * 3, axis=-1))])
    assert network.range == (-1024, 1024)
    assert sorted(masks) == ["left_lung", "mediastinum"], "by the package's own order of targets"
    assert masks["left_lung"].shape == (60, 40)
    assert (masks["left_lung"] != (picture > 0)).sum() == 0
    assert masks["mediastinum"].all()
