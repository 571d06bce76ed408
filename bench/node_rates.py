"""The data build on 1, 2 and 4 nodes of this machine, and what an image of it costs one thread."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import several_nodes
from several_nodes import Nodes


def phantom(work: Path, count: int, size: int) -> None:
    from medclm.samples.phantom import write_phantom

    write_phantom(work / "phantom", count, seed=5, size=size)


def build(work: Path, name: str, progress: Any = None, **more: Any) -> dict[str, Any]:
    """A build of the phantoms in small shards; its manifest, and the seconds it took."""
    from medclm.config import BuildConfig
    from medclm.data import pipeline

    known = {"segmenter": f"masks:{work}/phantom/masks", "shard_rows": 4, "batch_size": 2, "dataset": "phantom"}
    config = BuildConfig(images=f"{work}/phantom/images", annotations=f"{work}/phantom/annotations.json",
                         out=str(work / name), ids="keep", **{**known, **more})  # fmt: skip
    began = time.monotonic()
    manifest = pipeline.build(config, progress)
    return manifest | {"seconds": time.monotonic() - began}


def scaling(work: Path, images: int = 900, share: float = 0.3) -> dict[str, Any]:
    """Images a second of a warm build on 1, 2 and 4 nodes that may use ``share`` of a core each.

    The clock runs over the last two thirds: by the first shard, stages before it have worked ahead.
    Four shares leave 0.8 of the two cores that this machine has to the head and the driver, so the nodes do not take
    time from one another. The cost of an image alone, of one thread, is what the model of docs/scale.md rests on.
    """
    assert several_nodes.can_limit(), "CPU shares need a writable cgroup (version 1), which root has"
    phantom(work / "many", images, 256)
    cost = image_cost(work / "many", 48)
    found: dict[str, Any] = {"share": share, "images": images, "cpu_s_per_image": cost, "rates": {}}
    for count in (1, 2, 4):
        with Nodes(cpu_share=share, store_bytes=200_000_000) as nodes:
            for number in range(count):
                nodes.add(f"n{number}", num_cpus=4)
            ticks = Ticks()
            build(work / "many", f"built-{count}", ticks, annotator_actors=count, segmenter_actors=count)
        first, done_first = next(seen for seen in ticks.seen if seen[1] >= images / 3)
        last, done_last = ticks.seen[-1]
        found["rates"][str(count)] = (done_last - done_first) / (last - first)
        print(f"{count} nodes: {found['rates'][str(count)]:.1f} images/s", file=sys.stderr, flush=True)
    return found


class Ticks:
    """Keeps when how many images were done."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def __call__(self, done: int, _total: int) -> None:
        self.seen.append((time.monotonic(), done))


def image_cost(work: Path, images: int, segmenter: str = "") -> dict[str, float]:
    """CPU seconds an image of each stage of the build, one thread, in a bare loop."""
    import pyarrow as pa
    import torch

    from medclm.config import BuildConfig
    from medclm.data import stages
    from medclm.data.annotate import Annotate
    from medclm.data.pipeline import _annotating, plan_table
    from medclm.data.plan import make_plan

    torch.set_num_threads(1)
    config = BuildConfig(images=f"{work}/phantom/images", annotations=f"{work}/phantom/annotations.json",
                         out=str(work / "cost"), ids="keep",
                         segmenter=segmenter or f"masks:{work}/phantom/masks")  # fmt: skip
    plan = make_plan(config)
    table = plan_table(plan, list(range(images)))
    segment, annotate = stages.Segment(config.segmenter), Annotate(**_annotating(config, plan, None))
    steps = {
        "decode": lambda t: pa.table(stages.decode(t, window=config.window)),
        "segment": segment,
        "annotate": lambda t: pa.table(annotate(t)),
        "publish": lambda t: stages.publish(t, out=config.out, shard_rows=images),
    }
    found = {}
    for name, step in steps.items():
        began = time.process_time()
        table = step(table)
        found[name] = (time.process_time() - began) / images
    return found
