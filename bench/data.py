"""`make bench-data`: the data build against its rivals, in one run on one machine; prints a table, writes a JSON file.

Rivals do the same work with the same functions of this package: the segmenter alone in a bare loop (the bound that no
pipeline can pass), ``multiprocessing.Pool``, and Hugging Face ``datasets.map``. Figures are ratios, because machines
differ and drift; each rival runs right before or after medclm, and the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

WARM = 64
"""Images of the warm-up build: actors, imports and networks are up afterwards."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--segmenter", default="unet:phantom")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory", type=int, nargs=2, default=None, metavar=("SMALL", "LARGE"))
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=Path("bench-data.json"))
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="medclm-bench-"))
    try:
        results = {"throughput": throughput(work, arguments), "driver": driver_cost(arguments.rows)}
        if arguments.memory:
            results["memory"] = memory(work, arguments)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    results["machine"] = {"cpus": os.cpu_count(), "images": arguments.images, "size": arguments.size,
                          "segmenter": arguments.segmenter}  # fmt: skip
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    show(results)


# ---------------------------------------------------------------- the dataset


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


def settings(folder: Path, out: Path, segmenter: str):
    from medclm.config import BuildConfig

    return BuildConfig(
        images=f"{folder}/images",
        annotations=f"{folder}/annotations.json",
        out=str(out),
        segmenter=segmenter,
        dataset="bench",
        batch_size=8,
        shard_rows=40,
        annotator_actors=2,
    )


# ---------------------------------------------------------------- the same work without Ray


class Worker:
    """One shard at a time through the functions of the build, as a process of a rival would hold them."""

    def __init__(self, config, catalogue) -> None:
        import torch

        from medclm.data import privacy
        from medclm.data.annotate import Annotate
        from medclm.data.stages import Segment

        torch.set_num_threads(1)
        asking = {"seed": 0, "limit": config.max_questions, "choices_share": config.choices_share, "types": ()}
        self.config = config
        self.segment = Segment(config.segmenter)
        self.annotate = Annotate(catalogue, asking, config.min_coverage, config.linking, privacy.load_key())

    def __call__(self, rows: list[tuple[int, str, bool]]) -> int:
        import pyarrow as pa

        from medclm.data.stages import decode, publish

        done = []
        for part in chunks(rows, self.config.batch_size):
            done.append(pa.table(self.annotate(self.segment(pa.table(decode(table_of(part), self.config.window))))))
        publish(pa.concat_tables(done), self.config.out, self.config.shard_rows)
        return len(rows)


def table_of(rows: list[tuple[int, str, bool]]):
    import pyarrow as pa

    return pa.table({"index": [r[0] for r in rows], "record": [r[1] for r in rows], "complete": [r[2] for r in rows]})


def chunks(rows: list, size: int) -> list[list]:
    return [rows[n : n + size] for n in range(0, len(rows), size)]


_worker: Worker | None = None


def _start(config, catalogue) -> None:
    global _worker
    _worker = Worker(config, catalogue)


def _work(rows: list) -> int:
    assert _worker is not None
    return _worker(rows)


def with_pool(config, plan, processes: int) -> float:
    """Images a second of a warm ``multiprocessing.Pool``, a shard a task."""
    tasks = chunks([(n, row, complete) for n, (row, complete) in enumerate(plan.rows)], config.shard_rows)
    with multiprocessing.get_context("spawn").Pool(processes, _start, (config, plan.catalogue)) as pool:
        pool.map(_work, tasks[: 2 * processes], chunksize=1)
        began = time.perf_counter()
        done = sum(pool.imap(_work, tasks))
        return done / (time.perf_counter() - began)


def with_datasets(config, plan, processes: int) -> float:
    """Images a second of a second ``datasets.map(num_proc=…)`` over the same rows; the first warms the machine up."""
    import datasets

    datasets.disable_progress_bars()
    columns = {"index": list(range(len(plan.rows))), "record": [r for r, _ in plan.rows]}
    table = datasets.Dataset.from_dict({**columns, "complete": [c for _, c in plan.rows]})
    mapper = Mapper(config, plan.catalogue)
    options = {
        "batched": True,
        "num_proc": processes,
        "remove_columns": table.column_names,
        "load_from_cache_file": False,
    }
    table.select(range(2 * config.shard_rows)).map(mapper, batch_size=config.shard_rows, **options)
    began = time.perf_counter()
    table.map(mapper, batch_size=config.shard_rows, **options)
    return len(plan.rows) / (time.perf_counter() - began)


class Mapper:
    """Builds its worker in the process that it lands in. ``datasets`` cuts rows in two halves: shards stay whole."""

    def __init__(self, config, catalogue) -> None:
        self.config, self.catalogue = config, catalogue

    def __call__(self, batch: dict) -> dict:
        if _worker is None:
            _start(self.config, self.catalogue)
        return {"done": [_work(list(zip(batch["index"], batch["record"], batch["complete"], strict=True)))]}


def segmenter_alone(config, plan) -> float:
    """Images a second of the segmenter in a bare loop over decoded pictures, one thread."""
    import pyarrow as pa
    import torch

    from medclm.data.batches import rows_of
    from medclm.data.stages import Segment, decode

    torch.set_num_threads(1)
    segment = Segment(config.segmenter)
    rows = [(n, row, complete) for n, (row, complete) in enumerate(plan.rows[:256])]
    batches = [
        segment.inputs(rows_of(pa.table(decode(table_of(part), config.window))))
        for part in chunks(rows, config.batch_size)
    ]
    segment.segmenter(batches[0])
    began = time.perf_counter()
    for inputs in batches:
        segment.segmenter(inputs)
    return len(rows) / (time.perf_counter() - began)


# ---------------------------------------------------------------- medclm


def with_medclm(config, count: int) -> dict[str, float]:
    """Images a second of the build: whole, and from its first finished shard to its last.

    Images that were on their way when the first shard was done count as work of the warm part; ``read_at_first_rows``
    says how many those were, so ``warm_bound`` leaves them out: what was read after the first shard, in the same time.
    """
    from medclm import session
    from medclm.data import pipeline

    session.LOCAL_CPUS = 6  # logical ones: four actors and tasks share two cores
    ticks: list[tuple[float, int]] = []
    with session.ray_session():
        counter, decode = _counter(), pipeline.decode
        pipeline.decode = _counted(counter)
        read_at_first: list[int] = []

        def progress(done: int, total: int) -> None:
            if not ticks:
                read_at_first.append(_ray_get(counter.value.remote()))
            ticks.append((time.perf_counter(), done))

        began = time.perf_counter()
        try:
            pipeline.build(config, progress)
        finally:
            pipeline.decode = decode
        seconds = time.perf_counter() - began
    (first, done_first), (last, done_last) = ticks[0], ticks[-1]
    return {
        "whole": count / seconds,
        "warm": (done_last - done_first) / (last - first),
        "warm_bound": (count - read_at_first[0]) / (last - first),
        "seconds": seconds,
        "first_rows_s": first - began,
        "read_at_first_rows": read_at_first[0],
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


def throughput(work: Path, arguments) -> dict:
    """Every rival in turn, `rounds` times; medians, and medclm's ratio to each."""
    from medclm.data.plan import make_plan

    folder = dataset(work / "images", arguments.images, arguments.size)
    rounds: dict[str, list[float]] = {}
    details = []
    for n in range(arguments.rounds):
        config = settings(folder, work / f"built-{n}", arguments.segmenter)
        plan = make_plan(config)
        rounds.setdefault("segmenter alone", []).append(segmenter_alone(config, plan))
        found = with_medclm(config, arguments.images)
        details.append(found)
        rounds.setdefault("medclm, after warm-up", []).append(found["warm"])
        rounds.setdefault("medclm, whole", []).append(found["whole"])
        for name, rival in {"multiprocessing.Pool(2)": with_pool, "datasets.map(num_proc=2)": with_datasets}.items():
            own = settings(folder, work / f"{name}-{n}", arguments.segmenter)
            rounds.setdefault(name, []).append(rival(own, plan, 2))
    rates = {name: statistics.median(values) for name, values in rounds.items()}
    warm = rates["medclm, after warm-up"]
    ratios = {
        "segmenter alone": warm / rates["segmenter alone"],
        "multiprocessing.Pool(2)": warm / rates["multiprocessing.Pool(2)"],
        "datasets.map(num_proc=2)": warm / rates["datasets.map(num_proc=2)"],
    }
    return {"images_per_second": rates, "ratios": ratios, "rounds": rounds, "details": details}


# ---------------------------------------------------------------- memory and the driver


def memory(work: Path, arguments) -> dict:
    """Peak proportional set size of the driver and everything below it, at two sizes of the dataset."""
    peaks = {}
    for count in arguments.memory:
        folder = dataset(work / f"memory-{count}", count, arguments.size)
        with Peak() as peak:
            with_medclm(settings(folder, work / f"memory-built-{count}", arguments.segmenter), count)
        peaks[str(count)] = peak.bytes
        shutil.rmtree(folder)
    small, large = (peaks[str(count)] for count in arguments.memory)
    return {"peak_bytes": peaks, "ratio": large / small}


class Peak:
    """Samples the memory of this process and its descendants (shared pages counted once) until it is left."""

    def __enter__(self) -> Peak:
        self.bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._stop.wait(1.0):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it ended between the listing and the look
                    continue
            self.bytes = max(self.bytes, total)


def driver_cost(sizes: list[int]) -> dict:
    """Seconds and bytes that the driver spends on planning n rows of synthetic records and on summing receipts."""
    found = {}
    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            found[str(count)] = _driver_cost(Path(name), count)
    if found:
        largest = max(sizes)
        per_row = sum(found[str(largest)][key] for key in ("plan_s", "table_s", "receipts_s")) / largest
        found["per_million_rows_s"] = per_row * 1e6
    return found


def _driver_cost(folder: Path, count: int) -> dict:
    from medclm.data import shards
    from medclm.data.pipeline import plan_table
    from medclm.data.plan import make_plan

    (folder / "images").mkdir()
    images = [{"id": n, "file_name": f"{n:07d}.png", "width": 512, "height": 512, "patient_id": f"p{n // 3}"}
              for n in range(count)]  # fmt: skip
    for image in images:
        (folder / "images" / image["file_name"]).touch()
    annotations = [{"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 50, 40]} for n in range(0, count, 2)]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "nodule"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    config = settings(folder, folder / "built", "unet:phantom")
    began = time.perf_counter()
    plan = make_plan(config)
    planned = time.perf_counter()
    table = plan_table(plan, list(range(count)))
    tabled = time.perf_counter()
    for shard in range(-(-count // 256)):
        shards.write_shard(str(folder / "built"), shard, [], [])
    written = time.perf_counter()
    shards.write_manifest(str(folder / "built"), {})
    summed = time.perf_counter()
    return {"plan_s": planned - began, "table_s": tabled - planned, "receipts_s": summed - written,
            "plan_bytes": table.nbytes}  # fmt: skip


def show(results: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=80)
    rates = results["throughput"]
    table = Table("rival", "images/s", "medclm / rival", title="Build throughput")
    for name, value in rates["images_per_second"].items():
        ratio = rates["ratios"].get(name)
        table.add_row(name, f"{value:.1f}", f"{ratio:.2f}" if ratio else "")
    console.print(table)
    detail = rates["details"][0]
    total = results["machine"]["images"]
    console.print(f"First rows after {detail['first_rows_s']:.1f} s, when {detail['read_at_first_rows']} of {total} "
                  f"images ({detail['read_at_first_rows'] / total:.1%}) had been read.")  # fmt: skip
    if "memory" in results:
        peaks = ", ".join(f"{n} images {value / 2**30:.2f} GiB" for n, value in results["memory"]["peak_bytes"].items())
        console.print(f"Peak memory: {peaks}; ratio {results['memory']['ratio']:.2f}")
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
