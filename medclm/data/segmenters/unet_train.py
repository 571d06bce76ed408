"""Training and measuring of the small U-Net, on a detection dataset that comes with organ masks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medclm.data.segmenters import picture_input
from medclm.data.segmenters.unet import Unet, UnetFacts, load, pick_device, save_unet, write_facts
from medclm.data.segmenters.unet_card import card
from medclm.data.segmenters.unet_data import (
    Example,
    common_organs,
    dataset_info,
    dataset_note,
    dataset_sources,
    load_examples,
    stacked,
)
from medclm.data.segmenters.unet_fit import Progress, Recipe, fit
from medclm.errors import UsageError


def train_unet(
    dataset_dir: str,
    out_stem: str,
    recipe: Recipe | None = None,
    device: str = "auto",
    held_out_dir: str | None = None,
    folds: int = 0,
    mask_organ: str | None = None,
    progress: Progress | None = None,
) -> UnetFacts:
    """Train the network on every picture and write ``STEM.safetensors``, ``STEM.json`` and the card ``STEM.md``.

    Args:
        dataset_dir: see :func:`medclm.data.segmenters.unet_data.load_examples`.
        out_stem: where to write.
        recipe: how to train; the default one without.
        device: "auto", "cpu", "cuda" …
        held_out_dir: a dataset of other patients to measure Dice on.
        folds: measure by cross-validation: this many further networks, each on the pictures of all folds but one.
            Patients stay in one fold. Nothing is measured without this or ``held_out_dir``.
        mask_organ: what ``masks/<image id>.png`` shows; see ``load_examples``.
        progress: see :data:`medclm.data.segmenters.unet_fit.Progress`; counts from the start for each network.

    Raises:
        UsageError: no picture of the dataset has masks, or there are fewer patients than folds.
    """
    started = time.monotonic()
    recipe, device = recipe or Recipe(), pick_device(device)
    examples = load_examples(dataset_dir, mask_organ)
    organs = common_organs(examples) if mask_organ is None else _sided(examples)
    measured = cross_validate(examples, organs, recipe, folds, device, progress) if folds else {}
    network = fit(*stacked(examples, organs, recipe.size_hw), recipe, device, progress)
    training = {
        "data": dataset_info(dataset_dir),
        "held_out": dataset_info(held_out_dir) if held_out_dir is not None else None,
        "sources": dataset_sources(dataset_dir),
        "note": dataset_note(dataset_dir),
        "folds": folds,
        "mask_organ": mask_organ,
        "pictures": len(examples),
        "patients": len({example.patient_id for example in examples}),
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "seed": recipe.seed,
        "seconds": round(time.monotonic() - started),
        "parameters": sum(p.numel() for p in network.parameters()),
        "torch": version("torch"),
        "monai": version("monai"),
    }
    facts = UnetFacts(organs=organs, size_hw=recipe.size_hw, channels=recipe.channels, training=training, **measured)
    stem = Path(out_stem)
    facts = save_unet(stem, network, facts)
    if held_out_dir is not None:
        facts = facts.model_copy(update=summary(organs, evaluate(load(out_stem, device), held_out_dir)))
        write_facts(stem, facts)
    Path(f"{stem}.md").write_text(card(stem.name, facts))
    return facts


def _sided(examples: Sequence[Example]) -> tuple[str, ...]:
    """What one mask an image teaches: the sides where it splits into them, else the organ itself."""
    organs = common_organs(examples)
    return tuple(organ for organ in organs if organ.startswith(("left_", "right_"))) or organs


def cross_validate(
    examples: Sequence[Example],
    organs: tuple[str, ...],
    recipe: Recipe,
    folds: int,
    device: str,
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:
    """Dice of every picture by a network that did not see its patient; as :func:`summary` returns it."""
    scores = np.full((len(examples), len(organs)), np.nan)
    for held_out in fold_indices([example.patient_id for example in examples], folds, recipe.seed):
        chosen = set(held_out)
        others = [example for i, example in enumerate(examples) if i not in chosen]
        network = fit(*stacked(others, organs, recipe.size_hw), recipe, device, progress)
        facts = UnetFacts(organs=organs, size_hw=recipe.size_hw, channels=recipe.channels)
        segmenter = Unet("fold", network, facts, device)
        scores[held_out] = [dice(segmenter, examples[i]) for i in held_out]
    return summary(organs, scores)


def fold_indices(patients: Sequence[str], folds: int, seed: int) -> list[list[int]]:
    """Indices of the pictures held out in each fold; every picture once, a patient in one fold (scikit-learn's
    ``GroupKFold``).

    Raises:
        UsageError: there are fewer patients than folds.
    """
    from sklearn.model_selection import GroupKFold

    if not 2 <= folds <= len(set(patients)):
        raise UsageError("the folds do not fit the data", got=folds, expected=f"2 to {len(set(patients))} (patients)")
    splits = GroupKFold(folds, shuffle=True, random_state=seed).split(patients, groups=patients)
    return [held_out.tolist() for _, held_out in splits]


def evaluate(segmenter: Unet, dataset_dir: str, mask_organ: str | None = None) -> np.ndarray:
    """(pictures, organs) Dice on a dataset, at the pictures' own size; NaN where the truth lacks the organ."""
    return np.array([dice(segmenter, example) for example in load_examples(dataset_dir, mask_organ)])


def evaluate_unet(stem: str, dataset_dir: str, device: str = "auto") -> dict[str, float]:
    """Mean Dice by organ over the pictures that have the organ."""
    segmenter = load(stem, device)
    return summary(segmenter.facts.organs, evaluate(segmenter, dataset_dir))["dice"]


def summary(organs: Sequence[str], scores: np.ndarray) -> dict[str, dict[str, float]]:
    """{"dice": mean by organ, "worst": lowest by organ} of (pictures, organs) Dice with NaN for absent organs."""
    present = {organ: scores[~np.isnan(scores[:, i]), i] for i, organ in enumerate(organs)}
    measured = {organ: column for organ, column in present.items() if len(column)}
    how: dict[str, Any] = {"dice": np.mean, "worst": np.min}
    return {name: {o: round(float(of(c)), 4) for o, c in measured.items()} for name, of in how.items()}


def dice(segmenter: Unet, example: Example) -> np.ndarray:
    """(organs,) Dice of one picture (MONAI ``compute_dice``); NaN where the truth has no such organ."""
    import torch
    from monai.metrics import compute_dice

    empty = np.zeros(example.picture.shape, bool)
    (found,) = segmenter([picture_input(example.picture)])
    ours, theirs = (
        torch.from_numpy(np.stack([masks.get(organ, empty) for organ in segmenter.facts.organs]))[None].float()
        for masks in (found, example.masks)
    )
    return compute_dice(ours, theirs, include_background=True)[0].numpy()
