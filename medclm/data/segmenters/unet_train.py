"""Training and measuring of the small U-Net, on a detection dataset that comes with organ masks."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medclm.data.segmenters import picture_input
from medclm.data.segmenters.unet import (
    Unet,
    UnetFacts,
    build_network,
    load_unet,
    network_input,
    pick_device,
    save_unet,
    write_facts,
)
from medclm.errors import MedclmError, UsageError

CHANNELS = (16, 24, 32, 48, 64, 64)
SIZE_HW = (192, 192)
LEARNING_RATE = 4e-3
MIN_SHARE = 0.5
"""An organ is learnt when at least this share of the pictures has a mask of it."""

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss)."""


def train_unet(
    dataset_dir: str,
    out_stem: str,
    steps: int = 600,
    batch_size: int = 4,
    seed: int = 0,
    device: str = "auto",
    held_out_dir: str | None = None,
    progress: Progress | None = None,
) -> UnetFacts:
    """Train the network and write ``STEM.safetensors``, ``STEM.json`` and the card ``STEM.md``.

    Dice plus cross-entropy loss (MONAI ``DiceCELoss``); AdamW under a one-cycle schedule; small shifts, turns, zooms
    and changes of grey, and **no flips**: left and right differ by where they are. Equal arguments give
    equal weights on one machine.

    Args:
        dataset_dir: a detection dataset with ``images``, ``annotations.json`` and ``masks``.
        out_stem: where to write.
        steps: optimizer steps.
        batch_size: pictures a step.
        seed: of the weights, the order and the augmentation.
        device: "auto", "cpu", "cuda" …
        held_out_dir: a dataset of other patients to measure Dice on; nothing is measured without one.
        progress: see :data:`Progress`.

    Raises:
        UsageError: no picture of the dataset has masks.
    """
    import torch

    started = time.monotonic()
    images, masks, organs = load_examples(dataset_dir, SIZE_HW)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(len(organs), CHANNELS)
        _fit(network, images, masks, (steps, batch_size, seed), pick_device(device), progress)
    training = {
        "data": _info(dataset_dir),
        "held_out": _info(held_out_dir) if held_out_dir is not None else None,
        "pictures": len(images),
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "parameters": sum(p.numel() for p in network.parameters()),
        "torch": version("torch"),
        "monai": version("monai"),
    }
    stem = Path(out_stem)
    facts = save_unet(stem, network, UnetFacts(organs=organs, size_hw=SIZE_HW, channels=CHANNELS, training=training))
    if held_out_dir is not None:
        facts = facts.model_copy(update={"dice": evaluate_unet(out_stem, held_out_dir, device)})
        write_facts(stem, facts)
    Path(f"{stem}.md").write_text(card(stem.name, facts))
    return facts


def _info(dataset_dir: str) -> Any:
    """What the dataset says of itself: ``info`` of its annotation file."""
    import fsspec

    with fsspec.open(f"{dataset_dir.rstrip('/')}/annotations.json", "rb") as file:
        return json.loads(file.read()).get("info")


def load_examples(dataset_dir: str, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """All pictures of a dataset with their masks, resized.

    Returns:
        (N, H, W) uint8 pictures, (N, organs, H, W) uint8 masks of 0 and 1, and the organs' names in order.
    """
    pairs = [(picture, masks) for picture, masks in _pictures_and_masks(dataset_dir) if masks]
    seen = Counter(organ for _, masks in pairs for organ in masks)
    organs = tuple(sorted(organ for organ, count in seen.items() if count >= MIN_SHARE * len(pairs)))
    if not organs:
        raise UsageError(
            "there is nothing to learn from", where=dataset_dir, expected="masks/<image id>/<organ>.png", got="no masks"
        )
    empty = np.zeros(size_hw, np.uint8)
    images = np.stack([_resized(picture, size_hw) for picture, _ in pairs])
    labels = np.stack(
        [
            np.stack([_resized(masks[o].astype(np.uint8), size_hw) if o in masks else empty for o in organs])
            for _, masks in pairs
        ]
    )
    return images, labels, organs


def _pictures_and_masks(dataset_dir: str) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Every picture as rendered, (H, W) uint8, with its masks; unreadable ones are an error here."""
    import fsspec

    from medclm.data.images import read_picture, render, to_gray
    from medclm.data.readers.coco import read_coco
    from medclm.data.segmenters.masks import MaskFiles

    root = dataset_dir.rstrip("/")
    segmenter = MaskFiles(f"{root}/masks")
    pairs = []
    for record in read_coco(f"{root}/images", f"{root}/annotations.json", "segmenter").records:
        with fsspec.open(record.source.uri, "rb") as file:
            picture = to_gray(render(read_picture(file.read(), record.source.uri))[0])
        pairs.append((picture, segmenter([picture_input(picture, record.image_id)])[0]))
    return pairs


def _resized(array: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 resized: bilinear for pictures, nearest for masks (values 0 and 1)."""
    from PIL import Image

    if array.shape == size_hw:
        return array
    how = Image.Resampling.BILINEAR if array.max() > 1 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(array).resize(size_hw[::-1], how))


def _augmentation(seed: int, size_hw: tuple[int, int]) -> Any:
    """MONAI transforms of {"image": (1, H, W), "masks": (organs, H, W)}; no flips."""
    from monai.transforms import Compose, RandAdjustContrastd, RandAffined, RandGaussianNoised

    both = ("image", "masks")
    transforms = Compose(
        [
            RandAffined(
                both,
                prob=0.8,
                rotate_range=0.09,
                translate_range=(0.05 * size_hw[0], 0.05 * size_hw[1]),
                scale_range=0.12,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            RandAdjustContrastd(("image",), prob=0.5, gamma=(0.7, 1.4)),
            RandGaussianNoised(("image",), prob=0.3, std=6.0),
        ]
    )
    return transforms.set_random_state(seed=seed)


def _fit(
    network: Any,
    images: np.ndarray,
    masks: np.ndarray,
    settings: tuple[int, int, int],
    device: str,
    progress: Progress | None,
) -> None:
    """Train in place; ``settings`` are steps, batch size and seed."""
    import torch
    from monai.losses import DiceCELoss

    steps, batch_size, seed = settings
    loss_of = DiceCELoss(sigmoid=True, batch=True)
    network.to(device=device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=max(steps, 2), pct_start=0.15)
    augment, rng = _augmentation(seed, images.shape[1:]), np.random.default_rng(seed)
    for step in range(1, steps + 1):
        chosen = rng.choice(len(images), size=min(batch_size, len(images)), replace=False)
        batch = [augment({"image": images[i][None].astype(np.float32), "masks": masks[i]}) for i in chosen]
        pixels = torch.stack([torch.as_tensor(item["image"]) for item in batch]).to(device)
        target = torch.stack([torch.as_tensor(item["masks"]) for item in batch]).to(device).float()
        loss = loss_of(network(network_input(pixels).contiguous(memory_format=torch.channels_last)), target)
        if not torch.isfinite(loss):
            raise MedclmError("the loss of the segmenter is not finite", where=f"step {step}", got=loss.item())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(step, steps, loss.item())


def evaluate_unet(stem: str, dataset_dir: str, device: str = "auto") -> dict[str, float]:
    """Mean Dice by organ over the pictures that have the organ, at the pictures' own size (MONAI ``compute_dice``)."""
    segmenter = load_unet(stem, device)
    scores = np.array(
        [_dice(segmenter, picture, truth) for picture, truth in _pictures_and_masks(dataset_dir) if truth]
    )
    present = ~np.isnan(scores)
    return {
        organ: round(float(scores[present[:, i], i].mean()), 4)
        for i, organ in enumerate(segmenter.facts.organs)
        if present[:, i].any()
    }


def _dice(segmenter: Unet, picture: np.ndarray, truth: dict[str, np.ndarray]) -> np.ndarray:
    """(organs,) Dice of one picture; NaN where the truth has no such organ."""
    import torch
    from monai.metrics import compute_dice

    empty = np.zeros(picture.shape, bool)
    (found,) = segmenter([picture_input(picture)])
    ours, theirs = (
        torch.from_numpy(np.stack([masks.get(organ, empty) for organ in segmenter.facts.organs]))[None].float()
        for masks in (found, truth)
    )
    return compute_dice(ours, theirs, include_background=True)[0].numpy()


def card(name: str, facts: UnetFacts) -> str:
    """The model card, Markdown."""
    training = facts.training
    lines = [
        f"# {name}",
        "",
        f"A small U-Net (MONAI `UNet`, {training['parameters']:,} parameters) that finds organs in pictures like those",
        "it was trained on. Written by `medclm data train-segmenter`; use it as `--segmenter unet:STEM`.",
        "",
        "## How it was made",
        "",
        f"{training['pictures']} pictures with true organ masks, {training['steps']} steps of",
        f"{training['batch_size']}, seed {training['seed']}, {training['seconds']} s, torch {training['torch']},",
        f"MONAI {training['monai']}. Dice plus cross-entropy; small shifts, turns, zooms and changes of grey, no",
        f"flips: left and right are learnt by position. Input {facts.size_hw[1]} x {facts.size_hw[0]} pixels,",
        "standardised; one sigmoid output an organ.",
        "",
        f"Pictures for training: `{json.dumps(training['data'])}`; held out: `{json.dumps(training['held_out'])}`.",
        "",
        "## How good it is",
        "",
    ]
    if facts.dice:
        lines += ["Mean Dice on held-out pictures of other patients:", "", "| organ | Dice |", "| --- | --- |"]
        lines += [f"| {organ} | {score:.3f} |" for organ, score in facts.dice.items()]
        lines += [f"| **mean** | **{np.mean(list(facts.dice.values())):.3f}** |"]
    else:
        lines += ["Not measured: no held-out pictures were given."]
    lines += [
        "",
        "## Limits",
        "",
        "Any other kind of picture (another view, modality or flipped side) gives masks without meaning.",
        "Not for diagnosis.",
        "",
    ]
    return "\n".join(lines)
