"""``medclm ablate``: what each part of the method buys (METHOD section 5).

Every arm is trained with equal steps on equal data, with several seeds, and answers the same questions about a freshly
drawn phantom set. ::

    OUT/data-coverage, OUT/data-iou-argmax, OUT/test, OUT/test-drawn     built datasets
    OUT/runs/ARM-SEED/          one training run and its eval/
    OUT/ablation.json, OUT/report.html, OUT/report.md                    the table

Run again after an interruption, it goes on: a run that is finished is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medclm import config as configs
from medclm import storage
from medclm.config import AblationConfig, BuildConfig, EvalConfig, TrainConfig
from medclm.errors import UsageError

SHARD_ROWS = 64
Report = Callable[[int, int], None]
Runs = dict[str, dict[int, list[tuple[str, str, float]]]]


def ablate(out: str | Path, config: AblationConfig, progress: Report | None = None) -> dict[str, Any]:
    """Runs the arms and writes the table, anew with each arm that is done; returns what ``ablation.json`` holds.

    Run again, it goes on where it was stopped.

    Args:
        progress: called with (runs done, runs).

    Raises:
        UsageError: the reference or the arm of ``model_of`` is no arm.
    """
    from medclm.session import ray_session

    folder = Path(out).absolute()
    check(config)
    with ray_session():
        make_data(folder, config)
        for runs in run_all(folder, config, progress):
            whole = {name: found for name, found in runs.items() if len(found) == len(config.seeds)}
            if config.reference in whole:
                document = table(whole, config)
                storage.publish_json(folder / "ablation.json", document)
                write_report(folder, document)
    return document


def check(config: AblationConfig) -> None:
    """Raises UsageError where an arm names another that does not exist, or where the test set is no new one."""
    if config.data.seed == config.test.seed:
        raise UsageError(
            "the test phantoms would be those of the training", got=f"data.seed and test.seed {config.data.seed}",
            remedy="set another test.seed",
        )  # fmt: skip
    named = {config.reference, *(arm.model_of for arm in config.arms.values() if arm.model_of)}
    if missing := sorted(named - set(config.arms)):
        raise UsageError("there is no such arm", got=", ".join(missing), expected=f"one of {', '.join(config.arms)}")


def make_data(folder: Path, config: AblationConfig) -> None:
    """Draws the phantoms; builds a training set for each linking, the test set, and the same with boxes drawn."""
    for linking in sorted({arm.linking for arm in config.arms.values()}):
        _build(folder / "phantoms", folder / f"data-{linking}", config, config.data, linking=linking)
    everything = {"test": 1.0}
    _build(folder / "phantoms-test", folder / "test", config, config.test, split=everything)
    if any(arm.drawn for arm in config.arms.values()) and not (folder / "test-drawn" / "manifest.json").is_file():
        draw_boxes(str(folder / "test"), str(folder / "test-drawn"))


def _build(phantoms: Path, to: Path, config: AblationConfig, drawn: configs.PhantomConfig, **settings: Any) -> None:
    from medclm.data.pipeline import build
    from medclm.samples.phantom import write_phantom

    if not (phantoms / "annotations.json").is_file():
        write_phantom(phantoms, drawn.count, seed=drawn.seed, size=drawn.size)
    build(
        BuildConfig(
            images=str(phantoms / "images"), annotations=str(phantoms / "annotations.json"), out=str(to),
            segmenter=f"masks:{phantoms / 'masks'}", dataset=phantoms.name, shard_rows=SHARD_ROWS, batch_size=16,
            question_types=config.question_types, max_questions=config.max_questions, choices_share=0, **settings,
        )
    )  # fmt: skip


def draw_boxes(data: str, to: str) -> None:
    """A copy of a built dataset whose pictures have their lesion boxes drawn, as Easy shows them."""
    from medclm.data import shards

    records = [_drawn(record) for record in shards.read_records(data)]
    for index in range(0, len(records), SHARD_ROWS):
        shards.write_shard(to, index // SHARD_ROWS, records[index : index + SHARD_ROWS], [])
    origin = shards.read_manifest(data)["content_hash"]
    shards.write_manifest(to, {"fingerprint": storage.fingerprint({"drawn": origin})})


def _drawn(record: Any) -> Any:
    import io

    import PIL.Image

    from medclm.train.views import pixels

    boxes = tuple(finding.box_xyxy for finding in record.findings)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels(record.image, boxes)).save(buffer, "png")
    return record.model_copy(update={"image": record.image.model_copy(update={"bytes": buffer.getvalue()})})


def run_all(folder: Path, config: AblationConfig, progress: Report | None) -> Iterator[Runs]:
    """Trains and asks every arm with every seed, ``concurrent`` at a time.

    Yields:
        each question's score by arm and seed, whenever an arm has been run with all seeds.
    """
    import ray

    work = [(name, seed) for name, arm in config.arms.items() if not arm.model_of for seed in config.seeds]
    work += [(name, seed) for name, arm in config.arms.items() if arm.model_of for seed in config.seeds]
    task: Any = ray.remote(num_cpus=0, max_retries=1)(run_one)
    settings = config.model_dump(mode="json")
    runs: Runs = {name: {} for name in config.arms}
    waiting, done = list(work), 0
    running: dict[Any, tuple[str, int]] = {}
    while waiting or running:
        while waiting and len(running) < config.concurrent and _ready(waiting[0], config, runs):
            name, seed = waiting.pop(0)
            running[task.remote(str(folder), settings, name, seed)] = (name, seed)
        finished, _ = ray.wait(list(running), num_returns=1)
        name, seed = running.pop(finished[0])
        runs[name][seed] = ray.get(finished[0])
        done += 1
        if progress:
            progress(done, len(work))
        if len(runs[name]) == len(config.seeds):
            yield runs


def _ready(item: tuple[str, int], config: AblationConfig, runs: Runs) -> bool:
    """Whether the arm whose models this one takes has been trained with the seed."""
    origin = config.arms[item[0]].model_of
    return not origin or item[1] in runs[origin]


def run_one(folder: str, settings: dict[str, Any], name: str, seed: int) -> list[tuple[str, str, float]]:
    """One run of one arm: (question id, image id, right) of every test question."""
    from medclm.eval.run import evaluate
    from medclm.train.launch import train

    config = AblationConfig.model_validate(settings)
    arm, run = config.arms[name], Path(folder) / "runs" / f"{name}-{seed}"
    if arm.model_of:
        model = str(Path(folder) / "runs" / f"{arm.model_of}-{seed}" / "model")
    else:
        model = train(f"{folder}/data-{arm.linking}", str(run), arm_config(config, name, seed)).model_dir
    found = run / "answers.json"
    if not found.is_file():
        test = f"{folder}/{'test-drawn' if arm.drawn else 'test'}"
        controls = ("majority", "blank") if name == config.reference else ()
        asked = EvalConfig(
            limit=config.eval_questions, mode=arm.mode, batch_size=32, controls=controls, actors=0, attention=False
        )
        evaluate(model, [f"medclm:{test}"], str(run / "eval"), asked)
        storage.publish_json(found, scores(run / "eval"))
    return [(question, image, right) for question, image, right in storage.read_json(found)]


def arm_config(config: AblationConfig, name: str, seed: int) -> TrainConfig:
    """The training settings of an arm with a seed."""
    from medclm.train.tuning.space import merge, nested

    changed = merge(config.train.model_dump(mode="json"), nested(config.arms[name].train))
    return TrainConfig.model_validate({**changed, "seed": seed})


def scores(evaluated: Path) -> list[tuple[str, str, float]]:
    """(question id, image id, strictly right) of an evaluation's ``predictions.parquet``."""
    import pyarrow.parquet as pq

    rows = pq.read_table(evaluated / "predictions.parquet").to_pylist()
    return [(row["id"], row["image_id"], float(row["correct"])) for row in rows]


def table(runs: Runs, config: AblationConfig) -> dict[str, Any]:
    """What ``ablation.json`` holds: every arm beside the reference, and the verdict against the best flat arm."""
    from medclm.eval.stats import arm_table

    rows = [asdict(row) for row in arm_table(runs, config.reference)]
    for row in rows:
        row |= {"says": config.arms[row["name"]].says, "flat": config.arms[row["name"]].flat}
    flat = [row["name"] for row in rows if row["flat"]]
    best = max(flat, key=lambda name: next(r["accuracy"]["value"] for r in rows if r["name"] == name), default=None)
    verdict = None
    if best is not None:
        pair = arm_table({best: runs[best], config.reference: runs[config.reference]}, best)[1]
        verdict = {"best_flat": best, **asdict(pair)}
    return {
        "arms": rows,
        "reference": config.reference,
        "verdict": verdict,
        "seeds": list(config.seeds),
        "steps": config.train.steps,
        "questions": len(next(iter(runs[config.reference].values()))),
        "config": config.model_dump(mode="json"),
    }


def write_report(folder: Path, document: dict[str, Any]) -> None:
    """``report.html`` and ``report.md``."""
    from medclm.eval.pages import bar, render_page

    page = render_page("ablation.html.jinja", title="Ablation", d=document, bar=bar)
    storage.write_atomic(str(folder / "report.html"), page.encode())
    storage.write_atomic(str(folder / "report.md"), markdown(document).encode())


def markdown(document: dict[str, Any]) -> str:
    """The table for a README."""
    heads = ("arm", "accuracy, % (95 % CI)", "seeds", "lead over the reference, points", "p (Holm)")
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for row in document["arms"]:
        seeds = ", ".join(f"{100 * value:.1f}" for value in row["by_seed"])
        lead = _points(row["lead"], "+") if row["lead"] else "reference"
        p_value = f"{row['p_holm']:.4f}" if row["lead"] else ""
        cells = (f"{row['name']}: {row['says']}", _points(row["accuracy"], ""), seeds, lead, p_value)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _points(values: dict[str, float], sign: str) -> str:
    value, low, high = (format(100 * values[key], f"{sign}.1f") for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
