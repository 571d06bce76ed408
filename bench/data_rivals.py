"""The rivals of `bench/data.py`: the same functions in a bare loop, under ``multiprocessing.Pool``, ``datasets.map``.

What a rival's rate includes: reading, decoding, the network, linking, asking, verifying, ids to hashes, and writing
whole shards with their receipts, all of it by the functions that medclm runs, in batches as large, one thread a
process. What it leaves out: planning, and the first shards of each process (imports, networks; ``datasets.map`` starts
processes again for each map, which stays in its time). ``datasets.map`` also writes a table of one number a shard. What
only medclm does: its actors keep freed memory (:mod:`medclm.data.settle`). ``datasets`` comes twice: as a scheduler of
the same process-long work, and as it is used, where finished rows are a dataset that a second map writes as shards.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

from bench_meter import Cpu


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

        from medclm.data.stages import publish

        done = [self.finish(part) for part in chunks(rows, self.config.batch_size)]
        publish(pa.concat_tables(done), self.config.out, self.config.shard_rows)
        return len(rows)

    def finish(self, rows: list[tuple[int, str, bool]]):
        import pyarrow as pa

        from medclm.data.stages import decode

        return pa.table(self.annotate(self.segment(pa.table(decode(table_of(rows), self.config.window)))))


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


def with_pool(config, plan, processes: int) -> dict[str, float]:
    """Images a second, and CPU milliseconds an image, of a warm ``multiprocessing.Pool``, a shard a task."""
    tasks = chunks([(n, row, complete) for n, (row, complete) in enumerate(plan.rows)], config.shard_rows)
    with multiprocessing.get_context("spawn").Pool(processes, _start, (config, plan.catalogue)) as pool:
        pool.map(_work, tasks[: 2 * processes], chunksize=1)
        cpu, began = Cpu(), time.perf_counter()
        done = sum(pool.imap(_work, tasks))
        seconds = time.perf_counter() - began
        return {"rate": done / seconds, "cpu_ms": 1000 * cpu.seconds() / done}


def with_datasets(config, plan, processes: int) -> dict[str, float]:
    """Images a second of a second ``datasets.map(num_proc=…)`` over the same rows; the first warms the machine up."""
    table, options = _as_dataset(plan, processes)
    mapper = WholeShards(config, plan.catalogue)
    table.select(range(2 * config.shard_rows)).map(mapper, batch_size=config.shard_rows, **options)
    began = time.perf_counter()
    table.map(mapper, batch_size=config.shard_rows, **options)
    return {"rate": len(plan.rows) / (time.perf_counter() - began)}


def with_datasets_rows(config, plan, processes: int) -> dict[str, float]:
    """The same where the first map makes a dataset of finished rows, and a second one writes shards of it."""
    table, options = _as_dataset(plan, processes)

    def run(rows) -> None:
        done = rows.map(Rows(config, plan.catalogue), batch_size=config.batch_size, **options).with_format("arrow")
        options_of_writing = {**options, "remove_columns": done.column_names}
        done.map(Write(config), batch_size=config.shard_rows, **options_of_writing)

    run(table.select(range(2 * config.shard_rows)))
    began = time.perf_counter()
    run(table)
    return {"rate": len(plan.rows) / (time.perf_counter() - began)}


def _as_dataset(plan, processes: int):
    """The planned rows as a ``datasets.Dataset``, and the options of its map."""
    import datasets

    datasets.disable_progress_bars()
    columns = {"index": list(range(len(plan.rows))), "record": [r for r, _ in plan.rows]}
    table = datasets.Dataset.from_dict({**columns, "complete": [c for _, c in plan.rows]})
    options = {
        "batched": True,
        "num_proc": processes,
        "remove_columns": table.column_names,
        "load_from_cache_file": False,
    }
    return table, options


class Rows:
    """Finishes rows. Builds its worker in the process that it lands in."""

    def __init__(self, config, catalogue) -> None:
        self.config, self.catalogue = config, catalogue

    def __call__(self, batch: dict):
        return self._worker().finish(list(zip(batch["index"], batch["record"], batch["complete"], strict=True)))

    def _worker(self) -> Worker:
        if _worker is None:
            _start(self.config, self.catalogue)
        return _worker


class WholeShards(Rows):
    """Finishes and writes a shard. ``datasets`` cuts rows in two halves: shards stay whole."""

    def __call__(self, batch: dict) -> dict:
        return {"done": [self._worker()(list(zip(batch["index"], batch["record"], batch["complete"], strict=True)))]}


class Write:
    """Writes a shard of finished rows."""

    def __init__(self, config) -> None:
        self.config = config

    def __call__(self, rows) -> dict:
        from medclm.data.stages import publish

        return {"done": [len(publish(rows, self.config.out, self.config.shard_rows)["index"])]}


def segmenter_alone(config, plan, images: int) -> dict[str, float]:
    """Images a second of the segmenter in a bare loop over decoded pictures: one process, one thread."""
    import pyarrow as pa
    import torch

    from medclm.data.batches import rows_of
    from medclm.data.stages import Segment, decode

    torch.set_num_threads(1)
    segment = Segment(config.segmenter)
    rows = [(n, row, complete) for n, (row, complete) in enumerate(plan.rows[:images])]
    batches = [
        segment.inputs(rows_of(pa.table(decode(table_of(part), config.window))))
        for part in chunks(rows, config.batch_size)
    ]
    segment.segmenter(batches[0])
    cpu, began = Cpu(), time.perf_counter()
    for inputs in batches:
        segment.segmenter(inputs)
    seconds = time.perf_counter() - began
    return {"rate": len(rows) / seconds, "cpu_ms": 1000 * cpu.seconds() / len(rows)}


def export_unet(folder: Path, size: int) -> str:
    """A network of a radiology segmenter's size as TorchScript, and its spec.

    MONAI's U-Net of 6.5 million parameters (channels 32 to 512, two residual units a level) at the pictures' own size,
    weights by seed 0. Nobody trained it, so its output is added by a millionth to two ellipses and a disc where lungs
    and heart would be: the arithmetic is a real network's, the masks are plausible.
    """
    import torch
    from monai.networks.nets import UNet

    class Plausible(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            channels = (32, 64, 128, 256, 512)
            self.network = UNet(spatial_dims=2, in_channels=1, out_channels=3, channels=channels, strides=(2,) * 4,
                                num_res_units=2)  # fmt: skip
            y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
            discs = [(0.7, 0.45, 0.17, 0.3), (0.3, 0.45, 0.17, 0.3), (0.55, 0.62, 0.14, 0.13)]  # centre, radii (x, y)
            shapes = [1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2 for cx, cy, rx, ry in discs]
            self.register_buffer("shapes", torch.stack(shapes)[None])

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.shapes + 1e-6 * self.network(pixels)

    torch.manual_seed(0)
    with torch.inference_mode():
        torch.jit.trace(Plausible().eval(), torch.zeros(1, 1, size, size)).save(str(folder / "bench_unet.pt"))
    facts = {"labels": {0: "left_lung", 1: "right_lung", 2: "heart"}, "size_hw": [size, size]}
    (folder / "bench_unet.json").write_text(json.dumps(facts))
    return f"torchscript:{folder / 'bench_unet.pt'}"
