"""The dataset card: ``README.md`` of a built dataset, with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from typing import Any

import yaml

from medclm import storage


def write_card(out: str, manifest: dict[str, Any]) -> None:
    """Publishes ``OUT/README.md``; ``manifest`` is what :func:`medclm.data.shards.write_manifest` returned."""
    storage.write_atomic(storage.join(out, "README.md"), card(manifest).encode())


def card(manifest: dict[str, Any]) -> str:
    """The card as Markdown."""
    build = manifest["build"]
    config = build.get("config", {})
    front = {
        "pretty_name": config.get("dataset") or "medclm dataset",
        "task_categories": ["visual-question-answering"],
        "tags": ["medical", "grounding", "chain-of-thought", "medclm"],
        "size_categories": [_size(manifest["rows"])],
        "configs": [{"config_name": "default", "data_files": "shards/*.parquet"}],
    }
    tables = "\n".join(_table(name, values) for name, values in manifest["counts"].items() if values)
    rejected = {**build.get("reader_rejects", {}), **manifest["rejected"]}
    return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---

# {front["pretty_name"]}

{manifest["rows"]} images with linked findings, questions, answers and reasoning; medclm {manifest["medclm_version"]}.
**Research data, not for diagnosis.** Licence and consent are those of the images' source.

One row an image. Boxes are `[x1, y1, x2, y2]` pixels of the stored picture, x2 and y2 exclusive; left and right are the
patient's; masks are COCO run-length strings. The column `split` holds train, validate and test by patient.

- segmenter: `{config.get("segmenter", "")}`, linking: {config.get("linking", "")}, seed: {config.get("seed", "")}
- content hash: `{manifest["content_hash"]}`
- set aside: {", ".join(f"{key} {value}" for key, value in rejected.items()) or "nothing"} (see `rejected/`)

{tables}"""


def _table(name: str, values: dict[str, int]) -> str:
    rows = "\n".join(f"| {key} | {value} |" for key, value in values.items())
    return f"| {name} | count |\n| --- | --- |\n{rows}\n"


def _size(rows: int) -> str:
    """The hub's size category of a number of rows."""
    for limit, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if rows < limit:
            return name
    return "n>1M"
