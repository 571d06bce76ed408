"""`make bench-data`: the data build against its rivals, in one run on one machine; prints a table, writes a JSON file.

Two segmenters: the shipped `unet:phantom` (0.2 million parameters on 96 px: everything else costs more than it), and a
network of the size that radiology segmenters have (`bench/data_rivals.py`), which is what a build waits for in earnest.
Figures are ratios, because machines differ and drift; each rival runs right before or after medclm, and the median of
the rounds counts. `cpu ms` is CPU time an image over all processes: it says more than a rate on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bench_meter import Cpu, Peak
from data_driver import driver_cost
from data_rivals import export_unet, segmenter_alone, with_datasets, with_datasets_rows, with_pool

ALONE = 128
"""Images that the segmenter alone is timed on."""
SHARD_ROWS = 40
WARM = 0.25
"""Share of the images after which a build is warm: Ray still starts actors of its own when the first rows are done."""


TRUSTED = 0.7
"""Share of medclm's rate that must be left without what had been begun before, for the rate to mean something."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--large", type=int, default=400, help="images for the large segmenter; 0: leave it out")
    parser.add_argument("--no-apart", action="store_true", help="leave the layout `apart` out")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory", type=int, nargs=2, default=None, metavar=("SMALL", "LARGE"))
    parser.add_argument("--memory-size", type=int, default=512)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=Path("bench-data.json"))
    arguments = parser.parse_args()
    for name in ("images", "large"):  # each of a rival's two processes gets whole shards
        setattr(arguments, name, -(-getattr(arguments, name) // (2 * SHARD_ROWS)) * 2 * SHARD_ROWS)
    work = Path(tempfile.mkdtemp(prefix="medclm-bench-"))
    results: dict = {"machine": {"cpus": os.cpu_count(), "size": arguments.size}, "throughput": {}}
    try:
        if arguments.images:
            results["throughput"]["unet:phantom"] = throughput(work, arguments, arguments.images, "unet:phantom")
        if arguments.large:
            large = export_unet(work, arguments.size)
            results["throughput"]["U-Net, 6.5 M"] = throughput(work, arguments, arguments.large, large)
        results["driver"] = driver_cost(arguments.rows)
        if arguments.memory:
            results["memory"] = memory(work, arguments)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    show(results)


def dataset(folder: Path, count: int, size: int) -> Path:
    """A phantom dataset of ``count`` images: 200 different files, and hard links of them with ids of their own."""
    from medclm.samples.phantom import write_phantom

    base = min(count, 200)
    write_phantom(folder, base, seed=11, size=size)
    document = json.loads((folder / "annotations.json").read_text())
    images, annotations = list(document["images"]), list(document["annotations"])
    boxes_of: dict[int, list] = {}
    for annotation in annotations:
        boxes_of.setdefault(annotation["image_id"], []).append(annotation)
    for n in range(base, count):
        source = images[n % base]
        name = f"copy-{n:06d}.dcm"
        os.link(folder / "images" / source["file_name"], folder / "images" / name)
        images.append({**source, "id": 10**6 + n, "file_name": name})
        annotations += [{**a, "id": 10**7 + len(annotations) + k, "image_id": 10**6 + n}
                        for k, a in enumerate(boxes_of.get(source["id"], []))]  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps({**document, "images": images, "annotations": annotations}))
    return folder


def settings(folder: Path, out: Path, segmenter: str, **more):
    from medclm.config import BuildConfig

    known = {"dataset": "bench", "batch_size": 8, "shard_rows": SHARD_ROWS}
    return BuildConfig(
        images=f"{folder}/images", annotations=f"{folder}/annotations.json", out=str(out), segmenter=segmenter,
        **{**known, **more},
    )  # fmt: skip


def with_medclm(config, count: int) -> dict[str, float]:
    """Images a second of the build: whole, and warm.

    ``rate`` counts what comes out after :data:`WARM` of the images, some of which had been begun before. ``least_rate``
    leaves out whatever had been read by then: far too low where decoding works ahead of a slow segmenter.
    """
    from medclm import session
    from medclm.data import pipeline

    ticks: list[tuple[float, int]] = []
    with session.ray_session():
        counter, decode = _counter(), pipeline.decode
        pipeline.decode = _counted(counter)
        read: list[int] = []  # images by the first rows, and when warm
        warm: list = []  # when, and the CPU time since
        cpu_s = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal cpu_s
            if not ticks:
                read.append(_ray_get(counter.value.remote()))
            if not warm and done >= WARM * total:
                read.append(_ray_get(counter.value.remote()))
                warm.extend([time.perf_counter(), Cpu(), done])
            elif warm:
                cpu_s = max(cpu_s, warm[1].seconds())  # an actor that has ended takes its time along
            ticks.append((time.perf_counter(), done))

        began = time.perf_counter()
        try:
            pipeline.build(config, progress)
        finally:
            pipeline.decode = decode
        seconds = time.perf_counter() - began
    (first, _), (last, _) = ticks[0], ticks[-1]
    left = count - warm[2]
    return {
        "rate": left / (last - warm[0]),
        "least_rate": (count - read[1]) / (last - warm[0]),
        "cpu_ms": 1000 * cpu_s / left,
        "whole": count / seconds,
        "seconds": seconds,
        "first_rows_s": first - began,
        "read_at_first_rows": read[0],
    }


def _ray_get(reference):
    import ray

    return ray.get(reference)


def _counter():
    import ray

    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        def add(self, n: int) -> None:
            self.n += n

        def value(self) -> int:
            return self.n

    return Counter.remote()


def _counted(counter):
    """The decode stage, which also tells how many images it was given."""

    def decode(batch, **more):
        from medclm.data import stages

        counter.add.remote(len(batch["index"]))
        return stages.decode(batch, **more)

    return decode


def throughput(work: Path, arguments, images: int, segmenter: str) -> dict:
    """Every rival in turn, `rounds` times; medians, and medclm's ratio to each."""
    from medclm.data.plan import make_plan

    folder = dataset(work / f"images-{images}", images, arguments.size)
    layouts = {"medclm": {}, "medclm, stages apart": {"layout": "apart"}}
    if arguments.no_apart:
        del layouts["medclm, stages apart"]
    rounds: dict[str, list[dict[str, float]]] = {}
    for n in range(arguments.rounds):
        config = settings(folder, work / f"plan-{n}", segmenter)
        plan = make_plan(config)
        rounds.setdefault("segmenter alone", []).append(segmenter_alone(config, plan, min(ALONE, images)))
        for name, layout in layouts.items():
            config = settings(folder, work / f"{name}-{images}-{n}", segmenter, **layout)
            rounds.setdefault(name, []).append(with_medclm(config, images))
        rivals = {
            "multiprocessing.Pool(2)": with_pool,
            "datasets.map(num_proc=2)": with_datasets,
            "the same, rows first, then shards": with_datasets_rows,
        }
        for name, rival in rivals.items():
            own = settings(folder, work / f"{name}-{images}-{n}", segmenter)
            rounds.setdefault(name, []).append(rival(own, plan, 2))
    shutil.rmtree(folder)
    median = {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()
    }
    for found in median.values():
        found["ratio"] = median["medclm"]["rate"] / found["rate"]
    alone = median["segmenter alone"]
    alone["ratio"] = median["medclm"]["rate"] / (2 * alone["rate"])
    apart = {"rate": 0.0, **median.get("medclm, stages apart", {})}["rate"] / alone["rate"]
    return {"images": images, "median": median, "rounds": rounds, "apart_to_one_segmenter": apart}


def memory(work: Path, arguments) -> dict:
    """Peak proportional set size (PSS, shared pages counted once) of the driver and all below it, at two sizes."""
    peaks = {}
    for count in arguments.memory:
        folder = dataset(work / f"memory-{count}", count, arguments.memory_size)
        with Peak() as peak:
            with_medclm(settings(folder, work / f"memory-built-{count}", "unet:phantom"), count)
        peaks[str(count)] = peak.bytes
        shutil.rmtree(folder)
    small, large = (peaks[str(count)] for count in arguments.memory)
    return {"size": arguments.memory_size, "peak_pss_bytes": peaks, "ratio": large / small}


def show(results: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=80)
    for segmenter, found in results["throughput"].items():
        title = f"{segmenter}, {found['images']} images of {results['machine']['size']} px"
        table = Table("", "images/s", "cpu ms", "medclm is", title=title)
        for name, one in found["median"].items():
            cpu = f"{one['cpu_ms']:.0f}" if "cpu_ms" in one else ""
            beside = " x 2" if name == "segmenter alone" else ""
            table.add_row(name + beside, f"{one['rate']:.1f}{beside}", cpu, f"{one['ratio']:.2f}")
        console.print(table)
        detail = found["median"]["medclm"]
        least = detail["least_rate"]
        console.print(f"medclm at least {least:.1f} images/s: without what had been read when its clock began.")
        if least < TRUSTED * detail["rate"]:
            console.print("[bold]Too few images: most were begun before the clock. medclm's ratios say nothing.[/bold]")
        share = detail["read_at_first_rows"] / found["images"]
        console.print(f"First rows after {detail['first_rows_s']:.1f} s, with {share:.1%} of the images read.")
        if apart := found["apart_to_one_segmenter"]:
            console.print(f"Stages apart, one segmenter: {apart:.2f} of that one alone.")
    if "memory" in results:
        peaks = results["memory"]["peak_pss_bytes"]
        text = ", ".join(f"{n} images {value / 2**30:.2f} GiB" for n, value in peaks.items())
        console.print(f"Peak memory (PSS): {text}; ratio {results['memory']['ratio']:.2f}")
    table = Table("rows", "plan s", "table s", "receipts s", "plan MiB", title="Driver")
    for count, cost in results["driver"].items():
        if isinstance(cost, dict):
            table.add_row(count, *(f"{cost[k]:.2f}" for k in ("plan_s", "table_s", "receipts_s")),
                          f"{cost['plan_bytes'] / 2**20:.1f}")  # fmt: skip
    console.print(table)
    if "per_million_rows_s" in results["driver"]:
        console.print(f"Driver per million images, extrapolated: {results['driver']['per_million_rows_s']:.0f} s")


if __name__ == "__main__":
    main()
