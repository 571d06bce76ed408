"""The optimisation of the small U-Net: augmentation, loss and schedule, on arrays in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclm.data.segmenters.unet import build_network, network_input
from medclm.errors import MedclmError

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss)."""


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes:
        steps: optimizer steps.
        batch_size: pictures a step.
        seed: of the weights, the order and the augmentation.
        size_hw: the network's input.
        channels: width of each level.
        learning_rate: highest of the one-cycle schedule.
    """

    steps: int = 600
    batch_size: int = 4
    seed: int = 0
    size_hw: tuple[int, int] = (192, 192)
    channels: tuple[int, ...] = (16, 32, 48, 64, 96)
    learning_rate: float = 4e-3


def augmentation(seed: int, size_hw: tuple[int, int]) -> Any:
    """MONAI transforms of {"image": (1, H, W), "masks": (organs, H, W)}.

    Shifts, turns, zooms, shears and changes of grey, **no flips**: left and right differ by where they are.
    """
    from monai.transforms import Compose, RandAdjustContrastd, RandAffined, RandGaussianNoised

    transforms = Compose(
        [
            RandAffined(
                ("image", "masks"),
                prob=0.9,
                rotate_range=0.15,
                shear_range=0.08,
                translate_range=(0.08 * size_hw[0], 0.08 * size_hw[1]),
                scale_range=0.2,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            RandAdjustContrastd(("image",), prob=0.6, gamma=(0.5, 2.0)),
            RandGaussianNoised(("image",), prob=0.3, std=6.0),
        ]
    )
    return transforms.set_random_state(seed=seed)


def fit(pictures: np.ndarray, masks: np.ndarray, recipe: Recipe, device: str, progress: Progress | None = None) -> Any:
    """A trained network. Equal arguments give equal weights on one machine.

    Dice plus cross-entropy loss (MONAI ``DiceCELoss``); AdamW under a one-cycle schedule.

    Args:
        pictures: (N, H, W) uint8 at ``recipe.size_hw``.
        masks: (N, organs, H, W) uint8 of 0 and 1.
        device: "cpu", "cuda" …
        progress: see :data:`Progress`.

    Raises:
        MedclmError: the loss is not finite.
    """
    import torch
    from monai.losses import DiceCELoss

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build_network(masks.shape[1], recipe.channels)
    network.to(device=device, memory_format=torch.channels_last).train()
    loss_of, rate = DiceCELoss(sigmoid=True, batch=True), recipe.learning_rate
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=max(recipe.steps, 2), pct_start=0.15)
    batches = _batches(pictures, masks, recipe)
    for step in range(1, recipe.steps + 1):
        pixels, target = (tensor.to(device) for tensor in next(batches))
        inputs = network_input(pixels).contiguous(memory_format=torch.channels_last)
        loss = loss_of(network(inputs), target)
        if not torch.isfinite(loss):
            raise MedclmError("the loss of the segmenter is not finite", where=f"step {step}", got=loss.item())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(step, recipe.steps, loss.item())
    return network.eval()


def _batches(pictures: np.ndarray, masks: np.ndarray, recipe: Recipe) -> Any:
    """Endless augmented batches: (B, 1, H, W) and (B, organs, H, W) float tensors."""
    import torch

    augment, rng = augmentation(recipe.seed, recipe.size_hw), np.random.default_rng(recipe.seed)
    count = len(pictures)
    while True:
        chosen = rng.choice(count, size=min(recipe.batch_size, count), replace=False)
        batch = [augment({"image": pictures[i][None].astype(np.float32), "masks": masks[i]}) for i in chosen]
        yield tuple(torch.stack([torch.as_tensor(item[key]) for item in batch]).float() for key in ("image", "masks"))
