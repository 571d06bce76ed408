"""The model card of a trained U-Net, from nothing but its facts."""

from __future__ import annotations

import json

import numpy as np

from medclm.data.segmenters.unet import UnetFacts


def card(name: str, facts: UnetFacts) -> str:
    """The card, Markdown."""
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
        f"{training['batch_size']}, seed {training['seed']}, {training['seconds']} s in all,",
        f"torch {training['torch']}, MONAI {training['monai']}. Dice plus cross-entropy; shifts, turns, zooms, shears",
        "and changes of grey, no flips: left and right are learnt by position.",
        f"Input {facts.size_hw[1]} x {facts.size_hw[0]} pixels, standardised; one sigmoid output an organ.",
        "",
        *_command(facts),
        f"Pictures for training: `{json.dumps(training['data'])}`; held out: {_held_out(facts)}.",
        *_sources(facts),
        "",
        "## How good it is",
        "",
        *_table(facts),
        "",
        "## Limits",
        "",
        "Any other kind of picture (another view, modality or flipped side) gives masks without meaning.",
        *_patients(facts),
        "Not for diagnosis.",
        "",
    ]
    return "\n".join(lines)


def _command(facts: UnetFacts) -> list[str]:
    training = facts.training
    if "mask_organ" not in training:  # written before the command had these options
        return []
    options = {
        "steps": training["steps"],
        "batch-size": training["batch_size"],
        "size": facts.size_hw[0],
        "seed": training["seed"],
        "folds": training["folds"] or None,
        "mask-organ": training["mask_organ"],
    }
    text = " ".join(f"--{name} {value}" for name, value in options.items() if value is not None)
    return ["```", f"medclm data train-segmenter --data DIR --out STEM {text}", "```", ""]


def _held_out(facts: UnetFacts) -> str:
    if folds := facts.training.get("folds"):
        return f"each of {folds} folds in turn (the weights here saw every picture)"
    return f"`{json.dumps(facts.training['held_out'])}`"


def _sources(facts: UnetFacts) -> list[str]:
    """Whose pictures these are, as their licences ask for."""
    sources, note = facts.training.get("sources") or [], facts.training.get("note")
    lines = ["", "The pictures are other people's, and were resized:", ""] if sources else []
    lines += [f"- {s['pictures']} from {s['url']} (DOI {s['doi']}), {s['licence']}" for s in sources]
    return [*lines, "", f"The note that comes with the data: {note}"] if note else lines


def _table(facts: UnetFacts) -> list[str]:
    if not facts.dice:
        return ["Not measured: no held-out pictures were given."]
    lines = ["Dice on held-out pictures, at their own size:", "", "| organ | mean | worst |", "| --- | --- | --- |"]
    low = {organ: f"{score:.3f}" for organ, score in facts.worst.items()}
    lines += [f"| {organ} | {score:.3f} | {low.get(organ, '-')} |" for organ, score in facts.dice.items()]
    worst = f"{min(facts.worst.values()):.3f}" if facts.worst else "-"
    return [*lines, f"| **all** | **{np.mean(list(facts.dice.values())):.3f}** | **{worst}** |"]


def _patients(facts: UnetFacts) -> list[str]:
    if facts.training.get("patients") != facts.training["pictures"]:
        return []
    return ["The data names no patients: two pictures of one may lie in different folds, and flatter the figures."]
