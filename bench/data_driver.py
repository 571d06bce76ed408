"""What the driver of a build spends on rows that it never looks into, by their number."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path


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
    from medclm.config import BuildConfig
    from medclm.data import shards
    from medclm.data.pipeline import plan_table
    from medclm.data.plan import make_plan

    (folder / "images").mkdir()
    images: list[dict] = [
        {"id": n, "file_name": f"{n:07d}.png", "width": 512, "height": 512, "patient_id": f"p{n // 3}"}
        for n in range(count)
    ]
    for image in images:
        (folder / "images" / image["file_name"]).touch()
    annotations = [{"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 50, 40]} for n in range(0, count, 2)]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "nodule"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    config = BuildConfig(
        images=f"{folder}/images", annotations=f"{folder}/annotations.json", out=str(folder / "built"), dataset="bench"
    )
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
