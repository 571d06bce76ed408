"""`make bench-scale`: what 1 M and 100 M images would take on 8 to 512 GPUs, from figures that were measured here.

``--measure`` takes the figures of this machine again and writes bench/scale.json; without it the tables of
docs/scale.md are written again from that file. Whatever was not measured is an assumption, named in :data:`ASSUMED`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "scale.md"
ASSUMED = {
    "cores a GPU": 24.0,
    "segmenter, images/s a GPU": 200.0,
    "H100, TFLOP/s": 989.0,
    "of it reached": 0.40,
    "network, GB/s a GPU": 50.0,
    "storage, GB/s an 8-GPU node": 5.0,
    "storage, GB/s in all": 200.0,
    "H100 memory, GB/s": 3350.0,
    "examples an image": 4.0,
    "tokens an example": 1024.0,
    "tokens an answer": 120.0,
    "requests in a batch": 16.0,
    "H100, $ an hour": 3.0,
    "storage, $ a TB and month": 23.0,
}
"""Not measured: no such GPU was at hand. Data sheets (FLOP/s, memory, 400 Gb/s network a GPU), common experience (share
reached, segmenter), and public list prices rounded in November 2026 (no quote)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path, metavar="SCALING", help="what bench/cluster.py --scaling wrote")
    if (scaling := parser.parse_args().measure) is not None:
        check = json.loads(scaling.read_text())["scaling"]
        found = {**measure(), "check": check, "ray_factor": ray_factor(check)}
        (HERE / "scale.json").write_text(json.dumps(found, indent=2) + "\n")
    measured = json.loads((HERE / "scale.json").read_text())
    text = DOCUMENT.read_text()
    for name, table in tables(measured).items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, after = text.split(begin)
        text = before + begin + table + "\n" + end + after.partition(end)[2]
    DOCUMENT.write_text(text)


# ---------------------------------------------------------------- measured here


def measure(images: int = 64, size: int = 512) -> dict[str, Any]:
    """CPU seconds of one thread, and bytes: an image of the build, an example's preparation, a row on the driver."""
    import data_driver
    import node_rates

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        node_rates.phantom(work, images, size)
        stages = node_rates.image_cost(work, images, "unet:phantom")
        raw = sum(path.stat().st_size for path in (work / "phantom" / "images").iterdir()) / images
        shards = list((work / "cost" / "shards").iterdir())
        row = sum(path.stat().st_size for path in shards) / images
        questions, driver = _finish(work), data_driver.driver_cost([20_000])
        return {
            "image_cpu_s": stages, "image_bytes": raw, "row_bytes": row, "questions_a_row": questions / images,
            "example_cpu_s": example_cost(work), "request_cpu_s": request_cost(),
            "driver_s_a_row": driver["per_million_rows_s"] / 1e6,
            "plan_bytes_a_row": driver["20000"]["plan_bytes"] / 20_000,
        }  # fmt: skip


def ray_factor(check: dict[str, Any]) -> float:
    """CPU time of an image in a build on one node over that in a bare loop."""
    return check["share"] / check["rates"]["1"] / sum(check["cpu_s_per_image"].values())


def _finish(work: Path) -> int:
    """Completes the build that :func:`node_rates.image_cost` left; its questions."""
    from medclm.data import shards

    shards.write_manifest(str(work / "cost"), {"fingerprint": "scale"})
    return sum(len(record.questions) for record in shards.read_records(str(work / "cost")))


def example_cost(work: Path, count: int = 64) -> float:
    """CPU seconds that one training example costs its worker besides the step: view, drawing, processor, tokens."""
    import cluster
    from medclm.data import shards
    from medclm.train.collate import Encoder, collate
    from medclm.train.model import load_base
    from medclm.train.tiny import TinySize, make_tiny
    from medclm.train.views import make_view, training_text

    records = list(shards.read_records(str(work / "cost")))
    texts = [training_text(question) for record in records for question in record.questions]
    loaded = load_base(str(make_tiny(texts, work / "tiny", 0, TinySize(**cluster.TINY))))
    encoder = Encoder(loaded.processor, loaded.family, loaded.grid_hw)
    pairs = [(record, record.questions[0]) for record in records if record.questions][:count]
    collate(encoder, [make_view(*pairs[0], "medium", loaded.family)])
    began = time.process_time()
    for at in range(1, len(pairs), 8):
        collate(encoder, [make_view(*pair, "medium", loaded.family) for pair in pairs[at : at + 8]])
    return (time.process_time() - began) / (len(pairs) - 1)


def request_cost(count: int = 16) -> float:
    """CPU seconds to decode an upload of 512 × 512 pixels."""
    import numpy as np

    from medclm.data.raster import decode_png, encode_png

    picture = encode_png((np.random.default_rng(0).random((512, 512)) * 255).astype(np.uint8))
    began = time.process_time()
    for _ in range(count):
        decode_png(picture)
    return (time.process_time() - began) / count


# ---------------------------------------------------------------- the model


def build_seconds(measured: dict[str, Any], images: float, gpus: int) -> dict[str, float]:
    """Seconds that each part of a build needs by itself; the slowest is the build's. Parts overlap."""
    cpu = sum(seconds for stage, seconds in measured["image_cpu_s"].items() if stage != "segment")
    moved = images * (measured["image_bytes"] + measured["row_bytes"])
    bandwidth = min(ASSUMED["storage, GB/s an 8-GPU node"] * gpus / 8, ASSUMED["storage, GB/s in all"]) * 1e9
    return {
        "CPUs": images * cpu * measured["ray_factor"] / (ASSUMED["cores a GPU"] * gpus),
        "segmenter": images / (ASSUMED["segmenter, images/s a GPU"] * gpus),
        "driver": images * measured["driver_s_a_row"],
        "storage": moved / bandwidth,
    }


def train_seconds(measured: dict[str, Any], base: str, images: float, gpus: int) -> dict[str, float]:
    """Seconds of one pass over the data by what bounds it, every weight trained and activations recomputed.

    ``network``: FSDP over all GPUs gathers the weights twice in 16 bit and scatters gradients in 32 bit, 8 bytes a
    parameter and micro-batch of 8 examples; inside one node NVLink is not the bound.
    """
    from medclm.capacity import SHAPES

    shape, examples = SHAPES[base], images * ASSUMED["examples an image"]
    tokens = examples * ASSUMED["tokens an example"]
    speed = ASSUMED["H100, TFLOP/s"] * 1e12 * ASSUMED["of it reached"]
    passes = examples / (8 * gpus)
    return {
        "compute": 8 * shape.parameters * tokens / (speed * gpus),
        "network": passes * 8 * shape.parameters / (ASSUMED["network, GB/s a GPU"] * 1e9) if gpus > 8 else 0.0,
        "CPUs": examples * measured["example_cpu_s"] / (ASSUMED["cores a GPU"] * gpus),
        "storage": images * measured["row_bytes"] / (ASSUMED["storage, GB/s an 8-GPU node"] * 1e9 * gpus / 8),
    }


def serve_rate(base: str, gpus: int) -> float:
    """Answers a second: prefill at the compute's speed, each token of the answer reads all weights once for a batch."""
    from medclm.capacity import SHAPES

    parameters, batch = SHAPES[base].parameters, ASSUMED["requests in a batch"]
    prefill = batch * 2 * parameters * ASSUMED["tokens an example"] / (ASSUMED["H100, TFLOP/s"] * 1e12 * 0.4)
    decode = ASSUMED["tokens an answer"] * 2 * parameters / (ASSUMED["H100 memory, GB/s"] * 1e9 * 0.6)
    return gpus * batch / (prefill + decode)


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown of every table in docs/scale.md, by its marker."""
    return {
        "measured": _measured(measured),
        "assumed": _rows(["assumption", "value"], [[k, f"{v:g}"] for k, v in ASSUMED.items()]),
        "memory": _memory(),
        "build": _build(measured), "train": _train(measured), "serve": _serve(), "check": _check(measured),
    }  # fmt: skip


def _measured(measured: dict[str, Any]) -> str:
    rows = [
        [f"build: {stage}", f"{seconds * 1e3:.1f} ms an image"] for stage, seconds in measured["image_cpu_s"].items()
    ]
    rows += [
        ["Ray Data around them", f"× {measured['ray_factor']:.2f}"],
        ["driver", f"{measured['driver_s_a_row'] * 1e6:.0f} µs and {measured['plan_bytes_a_row']:.0f} bytes a row"],
        ["picture in, row out", f"{measured['image_bytes'] / 1e3:.0f} kB, {measured['row_bytes'] / 1e3:.0f} kB"],
        ["training: an example made ready", f"{measured['example_cpu_s'] * 1e3:.1f} ms"],
        ["serving: an upload decoded", f"{measured['request_cpu_s'] * 1e3:.1f} ms"],
    ]
    return _rows(["what", "CPU time of one thread"], rows)


def _build(measured: dict[str, Any]) -> str:
    rows = []
    for images in (1e6, 1e8):
        for gpus in (8, 64, 512):
            parts = build_seconds(measured, images, gpus)
            slowest = max(parts, key=lambda name: parts[name])
            stored = images * measured["row_bytes"] / 1e12
            seconds = parts[slowest]
            rows.append(
                [
                    f"{images / 1e6:g} M",
                    str(gpus),
                    _time(seconds),
                    slowest,
                    _time(parts["driver"]),
                    f"{stored:,.2f}",
                    _money(seconds, gpus),
                    f"{stored * ASSUMED['storage, $ a TB and month']:,.0f}",
                ]
            )
    return _rows(["images", "GPUs", "time", "bound by", "driver alone", "TB out", "$", "$ a month to keep"], rows)


def _train(measured: dict[str, Any]) -> str:
    rows = []
    for images in (1e6, 1e8):
        for size in ("2B", "8B", "32B"):
            for gpus in (8, 64, 512):
                base = f"Qwen/Qwen3-VL-{size}-Instruct"
                if size == "32B" and gpus == 8:
                    continue  # every weight trained does not fit
                parts = train_seconds(measured, base, images, gpus)
                slowest = max(parts, key=lambda name: parts[name])
                share = parts["network"] / parts["compute"]
                rows.append([f"{images / 1e6:g} M", size, str(gpus), _time(parts[slowest]), slowest, f"{share:.2f}",
                             _money(parts[slowest], gpus)])  # fmt: skip
    return _rows(["images", "model", "GPUs", "one pass", "bound by", "network / compute", "$"], rows)


def _memory() -> str:
    from medclm.capacity import GIB, gpu_bytes
    from medclm.config import TrainConfig, load

    rows = []
    for path in sorted((HERE.parent / "cluster" / "configs").glob("*.yaml")):
        if "# GPU: " not in path.read_text():
            continue  # no training run of a model whose shape is known
        config = load(TrainConfig, path)
        parts = gpu_bytes(config)
        rows.append([path.stem, str(config.workers), *(f"{value / GIB:.1f}" for value in parts.values())])
    return _rows(["configuration", "GPUs", *parts], rows)


def _serve() -> str:
    rows = [[size, *(f"{serve_rate(f'Qwen/Qwen3-VL-{size}-Instruct', gpus):,.0f}" for gpus in (1, 8, 64))]
            for size in ("2B", "8B", "32B")]  # fmt: skip
    return _rows(["model", "answers/s, 1 GPU", "8", "64"], rows)


def _check(measured: dict[str, Any]) -> str:
    """Predicted: the cores of the nodes over the CPU time of an image; the factor is fitted to one node alone."""
    check = measured["check"]
    alone, factor = sum(check["cpu_s_per_image"].values()), measured["ray_factor"]
    rows = []
    for count, rate in check["rates"].items():
        said = int(count) * check["share"] / (alone * factor)
        rows.append([count, f"{said:.1f}", f"{rate:.1f}", f"{said / rate - 1:+.0%}"])
    return _rows([f"nodes of {check['share']:g} core", "images/s by the model", "measured", "model off by"], rows)


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _time(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _money(seconds: float, gpus: int) -> str:
    return f"{seconds / 3600 * gpus * ASSUMED['H100, $ an hour']:,.0f}"


if __name__ == "__main__":
    main()
