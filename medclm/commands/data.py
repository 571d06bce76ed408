"""``medclm data …``: build, look at and export question datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Config, Json, Overrides, finish

data_app = typer.Typer(no_args_is_help=True, help="Build, look at and export question datasets.")


@data_app.command()
def build(
    overrides: Overrides = None,
    images: Annotated[str | None, typer.Option(help="Directory of the images; any fsspec address.")] = None,
    annotations: Annotated[str | None, typer.Option(help="Annotation file, or a directory of them.")] = None,
    format: Annotated[str | None, typer.Option(help="coco, voc, yolo, csv … see `medclm data formats`.")] = None,
    segmenter: Annotated[str | None, typer.Option(help="NAME[:ARG], e.g. masks:DIR or unet:phantom.")] = None,
    out: Annotated[str | None, typer.Option(help="Directory to write; any fsspec address.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Detection dataset to question dataset, through Ray Data. Run again after an interruption, it resumes."""
    from medclm import config as configs
    from medclm.data.pipeline import build as run
    from medclm.data.report import build_report

    named = {"images": images, "annotations": annotations, "format": format, "segmenter": segmenter, "out": out}
    settings = configs.load(configs.BuildConfig, config, overrides or (), **named)
    with terminal.progress("data build", quiet=json) as report:
        manifest = run(settings, report, lambda text: terminal.err.print(text, highlight=False))
    build_report(settings.out)
    finish(of_manifest(manifest), json, f"Built {settings.out}", f"medclm data preview {settings.out}")


@data_app.command()
def inspect(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A built dataset.")],
    json: Json = False,
) -> None:
    """Counts and checks of a built dataset."""
    from medclm.data.shards import read_manifest

    finish(of_manifest(read_manifest(directory)), json, f"Dataset {directory}", "")


@data_app.command()
def preview(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A built dataset.")],
    out: Annotated[Path | None, typer.Option("--out", help="HTML file; DIR/preview.html if not given.")] = None,
    limit: Annotated[int, typer.Option(help="Rows shown.", min=1)] = 12,
    seed: Annotated[int, typer.Option(help="Which rows.")] = 0,
) -> None:
    """An HTML page of rows with boxes, organs, reasoning and the three training views."""
    from medclm.data.preview import write_preview

    page = out or Path(directory) / "preview.html"
    write_preview(directory, page, limit=limit, seed=seed)
    terminal.out.print(f"Written: {page}")


@data_app.command()
def formats(json: Json = False) -> None:
    """What `--format` and `--segmenter` take."""
    from medclm.data.readers import FORMATS
    from medclm.data.segmenters import SEGMENTERS

    known = {"formats": {name: entry.what for name, entry in FORMATS.items()}, "segmenters": SEGMENTERS}
    if json:
        terminal.show_json(known)
        return
    for title, rows in known.items():
        terminal.table(title, rows)


@data_app.command()
def scan(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A built dataset.")],
    text: Annotated[list[str], typer.Option("--text", help="A name, date or id that must not be in it; repeatable.")],
    json: Json = False,
) -> None:
    """Look for texts in every file of a dataset, tables and pictures too; exit code 1 where one is found."""
    from medclm.data.leaks import scan_for_leaks

    leaks = scan_for_leaks(directory, text)
    if json:
        terminal.show_json([{"file": leak.file, "place": leak.place, "text": leak.planted} for leak in leaks])
    else:
        terminal.table(f"{len(leaks)} places", {f"{leak.file}, {leak.place}": leak.planted for leak in leaks})
    raise typer.Exit(int(bool(leaks)))


@data_app.command()
def join(
    directories: Annotated[
        list[str], typer.Argument(metavar="DIR…", help="Built datasets, which stay where they are.")
    ],
    out: Annotated[str, typer.Option(help="Directory of the joined one.")],
    json: Json = False,
) -> None:
    """Several built datasets as one to train on; no image twice, no patient in two splits."""
    from medclm.data.join import join as run
    from medclm.data.report import build_report

    manifest = run(directories, out)
    build_report(out)
    finish(of_manifest(manifest), json, f"Joined {out}", f"medclm train --data {out} --out run")


@data_app.command("export")
def export_data(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A built dataset.")],
    to: Annotated[Path, typer.Option("--to", help="Directory to write.")],
    format: Annotated[str, typer.Option(help="llava, sharegpt, hf or webdataset.")] = "llava",
    json: Json = False,
) -> None:
    """Flat exports for other trainers."""
    from medclm.data.export import export

    finish(export(directory, to, format), json, f"Exported to {to}", "")


@data_app.command("train-segmenter")
def train_segmenter(
    data: Annotated[Path, typer.Option("--data", help="Detection dataset with masks/.")],
    out: Annotated[Path, typer.Option("--out", help="Stem of the files to write: STEM.safetensors, STEM.json.")],
    steps: Annotated[int, typer.Option(min=1)] = 600,
    batch_size: Annotated[int, typer.Option(min=1)] = 4,
    size: Annotated[int, typer.Option(help="Height and width that pictures are resized to.", min=32)] = 192,
    folds: Annotated[int, typer.Option(help="Folds of a cross-validation; 0: none.", min=0)] = 0,
    held_out: Annotated[Path | None, typer.Option("--held-out", help="Dataset to measure on.")] = None,
    mask_organ: Annotated[str | None, typer.Option(help="What masks/<image id>.png shows, if not folders.")] = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Train the small U-Net that `--segmenter unet:STEM` uses."""
    from medclm.data.segmenters.unet_fit import Recipe
    from medclm.data.segmenters.unet_train import train_unet

    with terminal.progress("train segmenter", quiet=json) as report:
        recipe = Recipe(steps=steps, batch_size=batch_size, seed=seed, size_hw=(size, size))
        held_out_dir = str(held_out) if held_out else None
        facts = train_unet(
            str(data), str(out), recipe, held_out_dir=held_out_dir, folds=folds, mask_organ=mask_organ, progress=report
        )
    summary = {**facts.training, "organs": facts.organs, "dice": facts.dice or "not measured"}
    finish(summary, json, f"Written {out}.safetensors", f"medclm data build ... --segmenter unet:{out}")


def of_manifest(manifest: dict) -> dict:
    """The part of a manifest that `data inspect --json` promises, and no path of this machine."""
    keys = ("rows", "content_hash", "counts", "rejected", "rejected_images", "schema_version")
    found = {key: manifest[key] for key in keys}
    found["rejected"] = {**manifest["build"].get("reader_rejects", {}), **found["rejected"]}
    return {**found, "shards": len(manifest["shards"])}
