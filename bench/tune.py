"""`make bench-tune`: what early stopping saves, and whether what a search finds is better. Prints a table, writes JSON.

On phantom radiographs with the demo's recipe, all real training runs:

1. a grid in full: every combination, all its steps. Its best trial is the rival.
2. the same grid with successive halving in rounds: how many of the grid's steps it takes,
   how far its best is from the rival.
3. an Optuna search with the same, within the steps of eight full runs; its best and the untuned recipe are
   trained again with other seeds and asked the same held-out test questions.

Each part is kept in ``--work`` and goes on there when it is run again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SPACE = {
    "schedule.hard": {"values": [0.0, 0.3]},
    "loss.localization": {"values": [0.1, 1.0]},
    "optim.lr": {"values": [3.0e-4, 3.0e-3]},
}
FREE = {
    "schedule.easy": {"low": 0.05, "high": 0.5},
    "schedule.hard": {"low": 0.0, "high": 0.3},
    "loss.localization": {"low": 0.1, "high": 3.0, "log": True},
    "optim.lr": {"low": 1.0e-3, "high": 6.0e-3, "log": True},
}
WITHIN = 0.01
"""One point of accuracy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--data", default=None, help="a built dataset to use instead of making one")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--questions", type=int, default=96, help="held-out questions of a measurement in a trial")
    parser.add_argument("--test-questions", type=int, default=300)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--parts", nargs="*", default=["grid", "halving", "found"])
    parser.add_argument("--work", type=Path, default=Path("bench-tune"))
    parser.add_argument("--out", type=Path, default=Path("bench-tune.json"))
    arguments = parser.parse_args()
    from medclm.session import ray_session

    with ray_session():
        data = arguments.data or dataset(arguments.work, arguments.images)
        results = {name: PARTS[name](data, arguments) for name in arguments.parts}
    results["machine"] = {"cpus": os.cpu_count(), "steps": arguments.steps, "concurrent": arguments.concurrent}
    if {"grid", "halving"} <= set(results):
        results["rival"] = against(results["grid"], results["halving"])
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    show(results)


def dataset(work: Path, images: int) -> str:
    """The demo's phantom dataset, made once."""
    from medclm.config import BuildConfig
    from medclm.data.pipeline import build
    from medclm.demo import QUESTION_TYPES, SEED, SIZE
    from medclm.samples.phantom import write_phantom

    out = work / "dataset"
    if not (out / "manifest.json").is_file():
        write_phantom(work / "sample", images, seed=SEED, size=SIZE)
        sample = work / "sample"
        build(
            BuildConfig(
                images=str(sample / "images"), annotations=str(sample / "annotations.json"), out=str(out),
                segmenter="unet:phantom", dataset="phantom", shard_rows=64, batch_size=16,
                question_types=QUESTION_TYPES, max_questions=8, choices_share=0,
            )
        )  # fmt: skip
    return str(out)


def search(data: str, name: str, arguments: argparse.Namespace, **settings) -> dict:
    """One search; what it spent and found."""
    from medclm import config as configs
    from medclm.demo import RECIPE
    from medclm.train.tune import tune

    steps = arguments.steps
    recipe = configs.load(
        configs.TrainConfig, RECIPE,
        [f"steps={steps}", "workers=1", f"batch_size={arguments.batch}", f"evaluate_every={max(1, steps // 8)}",
         f"evaluate_limit={arguments.questions}"],
    )  # fmt: skip
    config = configs.TuneConfig.model_validate(
        {
            "train": recipe.model_dump(), "grace_steps": max(1, steps // 4), "stage_grace_steps": max(1, steps // 8),
            "concurrent": arguments.concurrent, "compare": {"seeds": []}, **settings,
        }
    )  # fmt: skip
    begin = time.perf_counter()
    result = tune(data, str(arguments.work / name), config, progress=lambda done, total: print(name, done, "of", total))
    trained = sum(trial.seconds for trial in result.trials)
    return {
        **result.summary(),
        "wall_s": result.seconds or time.perf_counter() - begin,
        "trial_s": trained,
        "side_by_side": trained / result.seconds,
        "values": {trial.name: trial.values for trial in result.trials},
        "history": {trial.name: trial.history for trial in result.trials},
        "report": str(arguments.work / name / "report.html"),
    }


def grid(data: str, arguments: argparse.Namespace) -> dict:
    return search(data, "grid", arguments, search="grid", space=SPACE, stopping="none")


def halving(data: str, arguments: argparse.Namespace) -> dict:
    return search(
        data,
        "halving",
        arguments,
        search="grid",
        space=SPACE,
        stopping="halving",
        grace_steps=max(1, arguments.steps // 8),
    )


def rounds(steps: int) -> dict:
    """Successive halving in rounds, from an eighth of the steps on."""
    return {"stopping": "halving", "grace_steps": max(1, steps // 8)}


def found(data: str, arguments: argparse.Namespace) -> dict:
    compare = {"seeds": arguments.seeds, "questions": arguments.test_questions}
    return search(data, "found", arguments, search="optuna", space=FREE, trials=arguments.trials, compare=compare,
                  **rounds(arguments.steps))  # fmt: skip


PARTS = {"grid": grid, "halving": halving, "found": found}


def against(full: dict, stopped: dict) -> dict:
    """Successive halving against the full grid: share of its steps, and the gap of the best in points."""
    share = stopped["steps_spent"] / full["steps_spent"]
    gap = full["accuracy"] - stopped["accuracy"]
    return {"share_of_steps": share, "gap_of_the_best": gap, "within_a_point": gap <= WITHIN, "half": share <= 0.5}


def show(results: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    from medclm.train.tuning.words import sentence

    console = Console(width=80)
    table = Table("search", "steps", "of full", "best", "stopped", "s", "at once", title="Tuning on phantoms")
    for name in (name for name in PARTS if name in results):
        one = results[name]
        share = one["steps_spent"] / one["steps_without_stopping"]
        table.add_row(name, str(one["steps_spent"]), f"{share:.0%}", f"{one['accuracy']:.3f}",
                      str(one["trials"]["stopped"]), f"{one['wall_s']:.0f}", f"{one['side_by_side']:.1f}")  # fmt: skip
    console.print(table)
    if "rival" in results:
        rival = results["rival"]
        console.print(f"Halving takes {rival['share_of_steps']:.0%} of the grid's steps (target 50 %); its best is "
                      f"{100 * rival['gap_of_the_best']:.1f} points behind the grid's (target 1).")  # fmt: skip
    if "found" in results:
        console.print(sentence(results["found"].get("comparison")))


if __name__ == "__main__":
    main()
