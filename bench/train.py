"""`make bench-train`: the training loop against a bare torch loop, TRL's SFTTrainer, eager attention and itself.

One thread a process. Every case trains the same base on the same rows with the same batch; the first steps of a case
are left out. Cases of a ratio run one after the other, ``--rounds`` times, and the median of the rounds counts. Prints
a table and writes bench-train.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

WARM_UP = 6
TINY = {"vision": "random", "image_size": 128, "patch_size": 8, "scale": 2, "vision_width": 128, "vision_layers": 4,
        "text_width": 256, "text_layers": 6, "heads": 4}  # fmt: skip


def settings(steps: int, **changes: Any) -> Any:
    from medclm.config import TrainConfig

    common = {
        "model": {"base": "tiny", "finetune": "full", "tiny": TINY},
        "schedule": {"name": "cot-only"},
        "optim": {"lr": 1e-3},
        "loss": {"localization": 0},
        "reasoning_steps": ["seed"],
        "steps": steps,
        "batch_size": 24,
        "accumulate": 2,
        "log_every": 1,
        "checkpoint_every": steps,
        "evaluate_limit": 1,
        "evaluate_every": 10_000,
    }
    return TrainConfig.model_validate({**common, **changes})


def make_data(work: Path) -> str:
    """120 phantoms of 128 px, built once."""
    from medclm.config import BuildConfig
    from medclm.data.pipeline import build
    from medclm.samples.phantom import write_phantom
    from medclm.session import ray_session

    phantoms, data = work / "phantoms", work / "data"
    if not (data / "manifest.json").is_file():
        write_phantom(phantoms, 120, seed=5, size=128)
        with ray_session():
            build(BuildConfig(images=str(phantoms / "images"), annotations=str(phantoms / "annotations.json"),
                              segmenter=f"masks:{phantoms / 'masks'}", out=str(data), shard_rows=8, dataset="bench",
                              split={"train": 0.9, "validate": 0.1}))  # fmt: skip
    return str(data)


def steady(run: Path) -> float:
    """Seconds a step of a run, from its own history, after the first steps; the mean, so that no step is left out."""
    from medclm.train.log import HISTORY, read_history

    numbers = [record["metrics"] for record in read_history(run / HISTORY) if record["kind"] == "numbers"]
    return statistics.fmean(metrics["seconds_per_step"] for metrics in numbers[WARM_UP:-1])


def medclm(work: Path, data: str, name: str, config: Any) -> dict[str, float]:
    """One run of Ray Train; seconds a step, until the first step, of a checkpoint, and bytes of a checkpoint."""
    import shutil

    from medclm.train import launch
    from medclm.train.export import newest_checkpoint
    from medclm.train.log import HISTORY, read_history

    folder = work / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(work / "base", folder / "base")
    began = time.time()
    first: list[float] = []

    def progress(step: int, steps: int, metrics: dict[str, float]) -> None:
        if not first:
            first.append(time.time() - began)

    metrics = launch.fit(data, folder, config, name, (), progress)
    saved = newest_checkpoint(folder)
    size = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
    numbers = [record["metrics"] for record in read_history(folder / HISTORY) if record["kind"] == "numbers"]
    return {
        "seconds_per_step": steady(folder),
        "first_step_s": first[0],
        "checkpoint_s": metrics["checkpoint_s"],
        "checkpoint_mb": size / 1e6,
        "padding": statistics.fmean(m["padding"] for m in numbers),
    }


def batches_of(work: Path, data: str, config: Any, layers: tuple[int, ...], count: int) -> tuple[Any, list[list[Any]]]:
    """(loaded base, micro-batches of each step) in memory: the rows that a run draws, cut by length as it does."""
    from medclm.data.shards import read_records
    from medclm.train.collate import Encoder, collate
    from medclm.train.data import question_order
    from medclm.train.model import load_base
    from medclm.train.views import make_view

    loaded = load_base(str(work / "base"))
    encoder = Encoder(loaded.processor, loaded.family, loaded.grid_hw)
    pairs = question_order(list(read_records(data, "train")), 0, 0, 0)
    size, part = config.batch_size, config.batch_size // config.accumulate
    steps = []
    for start in range(0, count * size, size):
        views = [
            make_view(*pair, "medium", loaded.family, config.reasoning_steps) for pair in pairs[start : start + size]
        ]
        views.sort(key=lambda example: len(encoder.text(example)[0]))
        steps.append([collate(encoder, views[n : n + part], layers) for n in range(0, size, part)])
    return loaded, steps


def bare(work: Path, data: str, config: Any, steps: int, form: str = "none") -> float:
    """Seconds a step of a plain torch loop over batches that are in memory.

    Args:
        form: ``none``, ``localize`` (ours) or ``eager`` (attention weights of the eager implementation).
    """
    import torch

    from medclm.train import localize, losses

    torch.set_num_threads(1)
    loaded, prepared = batches_of(work, data, config, (3,) if form != "none" else (), 8)
    model = loaded.model.train()
    if form == "localize":
        localize.install(model, (3,), ())
    if form == "eager":
        model.set_attn_implementation({"text_config": "eager"})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=True)
    seconds = []
    for step in range(steps):
        began = time.perf_counter()
        batches = prepared[step % len(prepared)]
        total = losses.counts(batches)
        for batch in batches:
            share = (
                eager_loss(model, batch, total)
                if form == "eager"
                else losses.loss_of(model, batch, total, losses.Weights())[0]
            )
            share.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    return statistics.fmean(seconds[WARM_UP:])


def two_bare(work: Path, data: str, config: Any, steps: int) -> float:
    """Seconds a step of two bare loops at once, each with half of the batch and nothing to say to the other."""
    half = config.model_copy(update={"batch_size": config.batch_size // 2})
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        return max(pool.map(bare, [work] * 2, [data] * 2, [half] * 2, [steps] * 2))


def eager_loss(model: Any, batch: Any, total: Any) -> Any:
    """The same loss out of the attention weights that eager attention gives back."""
    import torch

    target = batch.localize
    out = model(**batch.inputs, logits_to_keep=batch.keep, use_cache=False, output_attentions=True)
    ce = torch.nn.functional.cross_entropy(out.logits.float(), batch.targets, reduction="none")
    share = (0.8 * ce * batch.is_answer).sum() / total[0] + 0.2 * (ce * ~batch.is_answer).sum() / total[1]
    if target is None:
        return share
    attention = out.attentions[3][target.examples]
    rows = attention.gather(2, target.rows[:, None, :, None].expand(-1, attention.shape[1], -1, attention.shape[-1]))
    index = target.image_index[:, None, None, :].expand(-1, rows.shape[1], rows.shape[2], -1)
    seen = rows.gather(3, index)
    mass = (seen / seen.sum(-1, keepdim=True) * target.wanted()[:, None]).sum(-1)
    return share + (((1 - mass) ** 2).mean(1) * target.row_mask).sum() / total[2]


def trl(work: Path, data: str, config: Any, steps: int) -> float:
    """Seconds a step of TRL's SFTTrainer on the same base, rows and batch; its collator runs the processor."""
    import io

    import datasets
    import PIL.Image
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from medclm.data.shards import read_records
    from medclm.train.families import bind, family_of
    from medclm.train.views import make_view

    torch.set_num_threads(1)
    model = AutoModelForImageTextToText.from_pretrained(work / "base")
    processor = AutoProcessor.from_pretrained(work / "base")
    family = bind(family_of(model.config.model_type), processor)
    rows = []
    for record in read_records(data, "train"):
        picture = PIL.Image.open(io.BytesIO(record.image.bytes)).convert("RGB")
        for question in record.single_picture_questions:
            view = make_view(record, question, "medium", family, config.reasoning_steps)
            asked = [{"type": "image"}, {"type": "text", "text": view.question}]
            answered = [{"type": "text", "text": view.target}]
            rows.append({"images": [picture], "prompt": [{"role": "user", "content": asked}],
                         "completion": [{"role": "assistant", "content": answered}]})  # fmt: skip
        if len(rows) >= config.batch_size * steps:
            break
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    arguments = SFTConfig(
        output_dir=str(work / "trl"), max_steps=steps, gradient_accumulation_steps=config.accumulate,
        per_device_train_batch_size=config.batch_size // config.accumulate, learning_rate=1e-3,
        report_to=[], save_strategy="no", use_cpu=True, bf16=False,
        gradient_checkpointing=False, max_length=None, logging_strategy="no", disable_tqdm=True,
        dataloader_num_workers=0,
    )  # fmt: skip
    trainer = SFTTrainer(model=model, args=arguments, processing_class=processor,
                         train_dataset=datasets.Dataset.from_list(rows), callbacks=[Clock()])  # fmt: skip
    trainer.train()
    return (ends[-1] - ends[WARM_UP - 1]) / (len(ends) - WARM_UP)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", default="/tmp/bench-train", type=Path)
    parser.add_argument("--steps", default=24, type=int)
    parser.add_argument("--rounds", default=2, type=int)
    parser.add_argument("--out", default="bench-train.json")
    options = parser.parse_args()
    from medclm.session import ray_session
    from medclm.train import launch

    data, config = make_data(options.work), settings(options.steps)
    launch.make_base(data, options.work, config)
    cases: dict[str, list[float]] = {}
    facts: dict[str, dict[str, float]] = {}

    def note(name: str, seconds: float) -> None:
        cases.setdefault(name, []).append(seconds)
        print(f"{name}: {seconds:.3f} s a step", flush=True)

    for _ in range(options.rounds):
        note("bare loop", bare(options.work, data, config, options.steps))
        note("two bare loops at once", two_bare(options.work, data, config, options.steps))
        note("bare loop, L_loc", bare(options.work, data, config, options.steps, "localize"))
        note("bare loop, L_loc by eager attention", bare(options.work, data, config, options.steps, "eager"))
        note("TRL SFTTrainer", trl(options.work, data, config, options.steps))
        with ray_session():
            for name, changes in RUNS.items():
                facts[name] = medclm(
                    options.work, data, name.replace(" ", "-"), settings(**{"steps": options.steps, **changes})
                )
                note(name, facts[name]["seconds_per_step"])
    finish(cases, facts, options)


LARGE = {"batch_size": 96, "accumulate": 8, "steps": 14}
"""A step of the size that fine-tuning uses: as many messages as a step of 24, and four times the work between them."""
RUNS: dict[str, dict[str, Any]] = {
    "medclm 1 worker": {},
    "medclm 2 workers": {"workers": 2},
    "medclm 1 worker, batch 96": {**LARGE, "workers": 1},
    "medclm 2 workers, batch 96": {**LARGE, "workers": 2},
    "medclm LoRA": {"model": {"base": "tiny", "finetune": "lora", "tiny": TINY}},
    "medclm buckets": {"schedule": {"name": "uniform"}, "bucket_steps": 8, "accumulate": 4},
}


def finish(cases: dict[str, list[float]], facts: dict[str, dict[str, float]], options: Any) -> None:
    """The table and the file."""
    from rich.console import Console
    from rich.table import Table

    step = {name: statistics.median(values) for name, values in cases.items()}
    ratios = [
        ("1 worker, of a bare loop's speed", step["bare loop"] / step["medclm 1 worker"], ">= 0.95"),
        ("2 workers, of 1", step["medclm 1 worker"] / step["medclm 2 workers"], ">= 1.7"),
        ("2 workers, of 1, batch 96", step["medclm 1 worker, batch 96"] / step["medclm 2 workers, batch 96"], ">= 1.7"),
        ("two bare loops at once, of one", step["bare loop"] / step["two bare loops at once"], ""),
        ("1 worker, of TRL SFTTrainer", step["TRL SFTTrainer"] / step["medclm 1 worker"], ">= 1"),
        ("step with L_loc, of one without", step["bare loop, L_loc"] / step["bare loop"], "<= 1.15"),
        ("step with eager L_loc, of one without", step["bare loop, L_loc by eager attention"] / step["bare loop"], ""),
        ("padding, uniform stages, pools of 8 steps", facts["medclm buckets"]["padding"], "<= 0.05"),
    ]
    table = Table(title=f"training, {options.steps} steps of 24, median of {options.rounds}")
    for heading in ("what", "ratio", "target"):
        table.add_column(heading)
    for what, ratio, target in ratios:
        table.add_row(what, f"{ratio:.2f}", target)
    for name in ("medclm 1 worker", "medclm LoRA"):
        one = facts[name]
        table.add_row(f"{name}: seconds to the first step", f"{one['first_step_s']:.1f}", "")
        table.add_row(f"{name}: seconds a checkpoint blocks", f"{one['checkpoint_s']:.2f}", "")
        table.add_row(f"{name}: MB of a checkpoint", f"{one['checkpoint_mb']:.1f}", "")
    Console(width=80).print(table)
    document = {"seconds_per_step": cases, "facts": facts, "ratios": {what: ratio for what, ratio, _ in ratios}}
    Path(options.out).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
