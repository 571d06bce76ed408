"""``medclm demo`` and ``medclm sample``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Json, Out, finish


class Sample(StrEnum):
    phantom = "phantom"
    lidc = "lidc"
    base_model = "base-model"


class Kind(StrEnum):
    radiograph = "radiograph"
    ct = "ct"
    mixed = "mixed"


def demo(
    out: Out = Path("demo-out"),
    images: Annotated[int, typer.Option(help="Phantom radiographs to draw.")] = 0,
    steps: Annotated[int, typer.Option(help="Optimizer steps of each training run; 0: the recipe's.")] = 0,
    json: Json = False,
) -> None:
    """The whole chain on phantom radiographs, on CPU: data, three stages, evaluation, a served answer, a report."""
    from medclm.demo import run_demo

    summary = run_demo(out, images=images or None, steps=steps or None, quiet=json)
    if json:
        terminal.show_json(summary)


def sample(
    name: Annotated[
        Sample,
        typer.Argument(help="phantom: drawn here; lidc: a chest CT; base-model: a small VLM."),
    ],
    out: Out,
    count: Annotated[int, typer.Option(help="Images of a phantom dataset.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of a phantom dataset, or of base-model's projector.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Height and width of a phantom in pixels.")] = 256,
    kind: Annotated[Kind, typer.Option(help="What a phantom dataset holds.")] = Kind.radiograph,
    every: Annotated[int, typer.Option(help="Keep every n-th slice of lidc.", min=1)] = 1,
    image_size: Annotated[int, typer.Option(help="Side of base-model's pictures, in pixels.", min=14)] = 112,
    json: Json = False,
) -> None:
    """Write a detection dataset (DICOM, COCO annotations.json, organ masks), or a base model to train."""
    with terminal.progress(f"sample {name.value}", quiet=json) as report:
        if name is Sample.phantom:
            from medclm.samples.phantom import write_phantom

            summary = write_phantom(out, count, seed=seed, size=size, kind=kind.value, progress=report)
        elif name is Sample.lidc:
            from medclm.samples.lidc import write_lidc

            summary = write_lidc(out, every=every, progress=report)
        else:
            from medclm.samples.base_model import write_base_model

            summary = write_base_model(out, image_size=image_size, seed=seed, progress=report)
    then = (
        f"medclm train model.base={out} ..."
        if name is Sample.base_model
        else f"medclm data build --images {out}/images ..."
    )
    finish(summary, json, f"Written to {out}", then)
