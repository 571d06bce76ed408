from __future__ import annotations

import numpy as np
import pytest
import torch

from medclm.data.segmenters.unet_fit import Recipe, augmentation, fit
from medclm.errors import MedclmError

TOY = Recipe(steps=2, batch_size=2, size_hw=(16, 16), channels=(4, 4))


def test_augmentation_moves_picture_and_masks_alike_and_never_flips():
    """A bright left half stays on the left, and its mask with it."""
    picture, mask = np.zeros((1, 64, 64), np.float32), np.zeros((1, 64, 64), np.uint8)
    picture[..., :32], mask[..., :32] = 200, 1
    augment, plain = augmentation(0, (64, 64)), 0
    for _ in range(40):
        out = augment({"image": picture, "masks": mask})
        image, moved = np.asarray(out["image"])[0], np.asarray(out["masks"])[0]
        assert set(np.unique(moved)) <= {0, 1}
        assert moved[:, :32].mean() > 0.6 > 0.4 > moved[:, 32:].mean()
        assert image[moved == 1].mean() > 2 * image[moved == 0].mean()
        plain += np.array_equal(moved, mask[0])
    assert plain < 20, "most pictures are moved"


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fit(np.zeros((2, 16, 16), np.uint8), np.zeros((2, 1, 16, 16), np.uint8), TOY, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_loss_that_is_not_finite_stops_the_training():
    wild = Recipe(**{**vars(TOY), "learning_rate": 1e30, "steps": 20})
    rng = np.random.default_rng(0)
    pictures, masks = rng.integers(0, 255, (4, 16, 16), np.uint8), rng.integers(0, 2, (4, 1, 16, 16), np.uint8)
    with pytest.raises(MedclmError, match="not finite"):
        fit(pictures, masks, wild, "cpu")
