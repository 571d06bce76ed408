"""``medclm demo``: the whole chain on phantom radiographs, on CPU, each step the real command's function.

::

    OUT/sample      detection dataset            medclm sample phantom
    OUT/dataset     question rows                medclm data build
    OUT/curriculum  three stages                 medclm train
    OUT/flat        the same steps, Hard only    medclm train schedule.name=hard-only
    OUT/eval-*      held-out patients            medclm eval
    OUT/report.html, OUT/summary.json
"""

from __future__ import annotations

import base64
import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medclm import config as configs
from medclm import storage, terminal
from medclm.data.records import QuestionType
from medclm.session import ray_session

IMAGES, SIZE, SEED = 480, 128, 0
RECIPE = Path(__file__).parent / "train" / "demo.yaml"
EVAL_QUESTIONS = 300
QUESTION_TYPES: tuple[QuestionType, ...] = (
    "what", "organ", "side", "zone", "is-there", "how-many", "which-is-larger", "attribute", "which-organ",
)  # fmt: skip
"""What 300 steps of a tiny model can be asked; a build without this setting asks all types."""


class Clock:
    """Seconds by step, in the order of the steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, quiet: bool) -> Iterator[terminal.Report]:
        began = time.perf_counter()
        with terminal.progress(name, quiet) as report:
            yield report
        self.seconds[name] = round(time.perf_counter() - began, 1)


def run_demo(out: Path, images: int | None = None, steps: int | None = None, quiet: bool = False) -> dict[str, Any]:
    """Runs the chain and returns what summary.json holds.

    Args:
        out: directory to write; a demo that was interrupted there continues.
        images: phantom radiographs; :data:`IMAGES` when None.
        steps: optimizer steps of each of the two trainings; the recipe's when None.
        quiet: no progress and no last screen.
    """
    out.mkdir(parents=True, exist_ok=True)
    clock, began = Clock(), time.perf_counter()
    dataset = str(out / "dataset")
    _data(out, images or IMAGES, clock, quiet)
    with ray_session():
        manifest = _build(out, dataset, clock, quiet)
        models = _train(out, dataset, steps, clock, quiet)
        results = _evaluate(out, dataset, models, clock, quiet)
        served = _serve(models["curriculum"], dataset, clock, quiet)
    clock.seconds["total"] = round(time.perf_counter() - began, 1)
    summary = _summary(out, manifest, results, clock)
    _report(out, summary, results, dataset, served)
    storage.publish_json(str(out / "summary.json"), summary)
    if not quiet:
        _last_screen(out, summary, served)
    return summary


def _data(out: Path, images: int, clock: Clock, quiet: bool) -> None:
    from medclm.samples.phantom import write_phantom

    with clock.step("sample", quiet) as report:
        write_phantom(out / "sample", images, seed=SEED, size=SIZE, progress=report)


def _build(out: Path, dataset: str, clock: Clock, quiet: bool) -> dict[str, Any]:
    from medclm.data.pipeline import build
    from medclm.data.preview import write_preview
    from medclm.data.report import build_report

    settings = configs.BuildConfig(
        images=str(out / "sample" / "images"),
        annotations=str(out / "sample" / "annotations.json"),
        segmenter="unet:phantom",
        dataset="phantom",
        out=dataset,
        shard_rows=64,
        batch_size=16,
        question_types=QUESTION_TYPES,
        max_questions=8,
        choices_share=0,
    )
    with clock.step("data build", quiet) as report:
        manifest = build(settings, report)
        build_report(dataset)
        write_preview(dataset, out / "preview.html")
    return manifest


def _train(out: Path, dataset: str, steps: int | None, clock: Clock, quiet: bool) -> dict[str, str]:
    """The curriculum and, with equal steps on equal data, flat fine-tuning on answers alone."""
    from medclm.train.launch import train

    models = {}
    for name, overrides in {"curriculum": [], "flat": ["schedule.name=hard-only"]}.items():
        if steps:
            overrides = [*overrides, f"steps={steps}"]
        settings = configs.load(configs.TrainConfig, RECIPE, overrides)
        with clock.step(f"train {name}", quiet) as report:
            models[name] = train(dataset, str(out / name), settings, progress=report).model_dir
    return models


def _evaluate(out: Path, dataset: str, models: dict[str, str], clock: Clock, quiet: bool) -> dict[str, dict]:
    from medclm.eval.run import evaluate

    results = {}
    for name, mode in (("curriculum", "reason"), ("flat", "answer")):
        with clock.step(f"eval {name}", quiet) as report:
            controls = ("majority", "blank") if name == "curriculum" else ("majority",)
            asked = configs.EvalConfig(
                limit=EVAL_QUESTIONS, seed=SEED, mode=mode, batch_size=32, controls=controls, actors=0, attention=False
            )
            evaluated = str(out / f"eval-{name}")
            results[name] = evaluate(models[name], [f"medclm:{dataset}"], evaluated, asked, progress=report)
    return results


def _serve(model: str, dataset: str, clock: Clock, quiet: bool) -> dict[str, Any]:
    """One chat completion over HTTP from Ray Serve, about a held-out image that has a finding."""
    from medclm.data.shards import read_records
    from medclm.serve.app import run_app, stop_app

    record = next(record for record in read_records(dataset, split="test") if record.findings and record.questions)
    assert record.image is not None, "a built record has its picture"
    question = next((q for q in record.questions if q.type == "what"), record.questions[0])
    picture = f"data:image/png;base64,{base64.b64encode(record.image.bytes).decode()}"
    content: list[dict[str, Any]] = [
        {"type": "text", "text": question.question},
        {"type": "image_url", "image_url": {"url": picture}},
    ]
    body = {"model": "medclm", "messages": [{"role": "user", "content": content}]}
    with clock.step("serve", quiet) as report:
        address = run_app(configs.ServeConfig(model=model, port=_free_port(), max_replicas=1))
        report(1, 2)
        try:
            reply = _post(f"{address}/v1/chat/completions", body)
        finally:
            stop_app("medclm")
        report(2, 2)
    content[1] = {"type": "image_url", "image_url": {"url": f"{picture[:40]}…"}}
    return {
        "image_id": record.image_id,
        "question": question.question,
        "reference": question.answer,
        "request": body,
        "response": reply,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _post(url: str, body: dict) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def _summary(out: Path, manifest: dict, results: dict[str, dict], clock: Clock) -> dict[str, Any]:
    full, flat = (results[name]["summary"]["medclm"] for name in ("curriculum", "flat"))
    return {
        "accuracy": full["accuracy"],
        "majority_accuracy": full["majority_accuracy"],
        "blank_image_accuracy": full["blank_image_accuracy"],
        "flat_accuracy": flat["accuracy"],
        "box_iou": full["box_iou"],
        "questions": full["questions"],
        "images": manifest["rows"],
        "content_hash": manifest["content_hash"],
        "seconds": clock.seconds,
        "commands": _next_commands(out),
    }


def _next_commands(out: Path) -> list[str]:
    model = out / "curriculum" / "model"
    image = next(iter(sorted((out / "sample" / "images").glob("*.dcm"))))
    return [
        f'medclm ask --model {model} --image {image} "What abnormality does this image show?" --overlay answer.png',
        f"medclm serve --model {model}",
        f"medclm data inspect {out / 'dataset'}",
    ]


def _report(out: Path, summary: dict, results: dict[str, dict], dataset: str, served: dict) -> None:
    from medclm.demo_report import write_demo_report

    write_demo_report(out, summary, results["curriculum"], results["flat"], dataset, served)


def _last_screen(out: Path, summary: dict[str, Any], served: dict[str, Any]) -> None:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    answer = served["response"]["choices"][0]["message"]["content"].strip().splitlines()[-1]
    rows = {
        "curriculum": percent(summary["accuracy"]),
        "flat fine-tuning": percent(summary["flat_accuracy"]),
        "majority answer": percent(summary["majority_accuracy"]),
        "blank image": percent(summary["blank_image_accuracy"]),
        "box IoU": "-" if summary["box_iou"] is None else f"{summary['box_iou']:.2f}",
        "served": f"{served['question']} -> {answer} (reference: {served['reference']})",
        "time": f"{summary['seconds']['total']:.0f} s",
        "report": str(out / "report.html"),
        "dataset page": str(out / "preview.html"),
        "model": str(out / "curriculum" / "model"),
    }
    terminal.table(f"Accuracy on {summary['questions']} questions about held-out phantom patients", rows)
    terminal.out.print("Research software, not a medical device. Run next:")
    for command in summary["commands"]:
        terminal.out.print(f"  [cyan]{command}[/]", soft_wrap=True, highlight=False)
