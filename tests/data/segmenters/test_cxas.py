"""What goes into the CXAS network and what is made of its output; the weights themselves cannot be had here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medclm.data.segmenters import picture_input
from medclm.data.segmenters.cxas import Cxas


class Bright(torch.nn.Module):
    """Of the package's shape: a dictionary in and out; the right lung (channel 135) is what is bright."""

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.data = batch["data"]
        logits = torch.full((1, 159, 512, 512), -1.0)
        logits[:, 135] = self.data[:, 1]
        return {"logits": logits}


def test_pictures_are_normalised_as_imagenet_and_channels_are_organs():
    network = Bright()
    picture = np.zeros((60, 40), np.uint8)
    picture[:, :20] = 255
    (masks,) = Cxas(network, "cxas@1", "cpu")([picture_input(picture)])
    assert network.data.shape == (1, 3, 512, 512)
    assert network.data[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, 2.64], abs=1e-3
    )
    assert sorted(masks) == ["right_lung"]
    assert (masks["right_lung"] != (picture > 0)).sum() == 0
