"""``medclm train``, ``tune``, ``export`` and ``pretrain-vision``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclm import terminal
from medclm.commands.options import Config, Json, Out, Overrides, finish


def train(
    data: Annotated[str, typer.Option("--data", help="A built dataset.")],
    out: Out,
    overrides: Overrides = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """The three-stage curriculum on Ray Train. Run again after an interruption, it resumes."""
    from medclm import config as configs
    from medclm.train.launch import train as run

    settings = configs.load(configs.TrainConfig, config, overrides or ())
    with terminal.progress("train", quiet=json) as report:
        result = run(data, str(out), settings, progress=report)
    summary = {"model": result.model_dir, "steps": result.steps, "seconds": round(result.seconds, 1), **result.metrics}
    finish(summary, json, f"Trained: {result.model_dir}", f"medclm ask --model {result.model_dir} --image ...")


def tune(
    data: Annotated[str, typer.Option("--data", help="A built dataset.")],
    out: Out = Path("tune-out"),
    overrides: Overrides = None,
    config: Config = None,
    resume: Annotated[bool, typer.Option("--resume", help="Only go on with the search that is in --out.")] = False,
    json: Json = False,
) -> None:
    """Search the schedule with Ray Tune over the real training job; writes schedule.yaml for `medclm train`.

    Run again after an interruption, it goes on.
    """
    from medclm import config as configs
    from medclm.train.tune import tune as run

    settings = configs.load(configs.TuneConfig, config, overrides or ())
    with terminal.progress("tune", quiet=json) as report:
        result = run(data, str(out), settings, progress=report, resume=resume)
    shown = result.summary() if json else result.lines()
    finish(shown, json, f"Schedule: {result.schedule_yaml}", f"medclm train --config {result.schedule_yaml}")


def export(
    run: Annotated[Path, typer.Option("--run", help="Directory that `medclm train` wrote.")],
    to: Annotated[Path, typer.Option("--to", help="Directory to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="Merge a LoRA adapter into its base.")] = False,
) -> None:
    """The trained model in Hugging Face layout: PEFT adapter or merged weights."""
    from medclm.train.export import export_run

    export_run(str(run), str(to), merge=merge)
    terminal.out.print(f"Exported to {to}")


def pretrain_vision(
    out: Annotated[Path, typer.Option("--out", help="Stem of the files to write: STEM.safetensors, STEM.json.")],
    images: Annotated[int, typer.Option(help="Phantom radiographs to draw.")] = 3000,
    steps: Annotated[int, typer.Option(min=1)] = 1500,
    seed: int = 1000,
    json: Json = False,
) -> None:
    """Make the vision tower of the `tiny` base model again (its weights are shipped)."""
    from medclm.train.vision import pretrain

    with terminal.progress("pretrain vision", quiet=json) as report:
        facts = pretrain(out, images, steps, seed, report)
    finish(facts, json, f"Written {out}.safetensors", "")


def ablate(
    out: Out = Path("ablation-out"),
    overrides: Overrides = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """What each part of the method buys: arms with equal steps and data, several seeds, one held-out set.

    Run again after an interruption, it goes on.
    """
    from medclm import config as configs
    from medclm.train.ablation import ablate as run

    settings = configs.load(configs.AblationConfig, config, overrides or ())
    with terminal.progress("ablate", quiet=json) as report:
        document = run(out, settings, progress=report)
    rows = {row["name"]: f"{100 * row['accuracy']['value']:.1f} %" for row in document["arms"]}
    summary = {"report": str(out / "report.html"), **rows, **({"verdict": document["verdict"]} if json else {})}
    finish(summary, json, "Accuracy by arm", "")
