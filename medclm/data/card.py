"""The dataset card: ``README.md`` of a built dataset, with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from medclm import storage

LINKING = {
    "coverage": "A finding's organ is the deepest admissible organ whose mask covers at least {min_coverage:.0%} of "
    "the finding's mask, or of its box where it has none; `unclear` where no organ does. A finding that two sibling "
    "organs share goes to their parent.",
    "iou-argmax": "A finding's organ is the one whose *bounding box* has the largest IoU with the finding's box, "
    "without a minimum (the published rule, kept for the ablation: it favours organs as small as the finding).",
}


def write_card(out: str, manifest: dict[str, Any], report: dict[str, Any] | None = None) -> None:
    """Publishes ``OUT/README.md``.

    Args:
        manifest: what :func:`medclm.data.shards.write_manifest` returned.
        report: what :func:`medclm.data.report.build_report` found, where it has run.
    """
    storage.write_atomic(storage.join(out, "README.md"), card(manifest, report).encode())


def card(manifest: dict[str, Any], report: dict[str, Any] | None = None) -> str:
    """The card as Markdown."""
    config = manifest["build"].get("config", {})
    front = _front_matter(config.get("dataset") or "medclm dataset", manifest["rows"])
    rejected = {**manifest["build"].get("reader_rejects", {}), **manifest["rejected"]}
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False).strip()}\n---",
        f"# {front['pretty_name']}",
        f"{manifest['rows']} images with findings linked to organs, questions, answers and reasoning; made by medclm "
        f"{manifest['medclm_version']}.\n\n**Research data, not a medical device. Not for diagnosis or treatment.**",
        _USE,
        _LICENCE,
        _ROWS,
        _made(config),
        _measured(report) if report else "",
        _LIMITS,
        f"## Counts\n\nSet aside: {', '.join(f'{key} {n}' for key, n in rejected.items()) or 'nothing'} "
        f"(see `rejected/`). Content hash: `{manifest['content_hash']}`.",
        *(_table((name, "count"), values.items()) for name, values in manifest["counts"].items() if values),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(name: str, rows: int) -> dict[str, Any]:
    """The hub's metadata. One loadable split, ``full``: the column ``split`` says which rows are for training."""
    return {
        "pretty_name": name,
        "license": "other",
        "license_name": "see-the-source-of-the-images",
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-text-to-text"],
        "tags": ["medical", "grounding", "chain-of-thought", "medclm"],
        "size_categories": [_size(rows)],
        "configs": [{"config_name": "default", "data_files": [{"split": "full", "path": "shards/*.parquet"}]}],
    }


_USE = """## Intended use

Training and testing of vision-language models that answer questions about medical images and show where they looked.
Not for use on patients, and no evidence that a model is fit for that. Hold out whole patients, as the column `split`
does."""

_LICENCE = """## Licence

*To be filled in by whoever publishes this dataset.* Licence, consent and terms of use of the images and annotations are
those of their source; medclm adds organs, links, questions and reasoning, and grants no rights to the images."""

_ROWS = """## Rows

```python
rows = datasets.load_dataset("DIRECTORY", split="full")
train = rows.filter(lambda split: split == "train", input_columns="split")
```

One row an image. Boxes are `[x1, y1, x2, y2]` pixels of the stored picture, x2 and y2 exclusive; left and right are the
patient's; masks are COCO run-length strings. `findings` have a box; `labels` are known of the whole image only. A
question has its `type`, `choices`, `difficulty` (1 read off, 2 one inference, 3 several) and `reasoning`: steps with
the box that shows each, and the ids of the facts that a step rests on."""

_LIMITS = """## Known limits

- Questions and reasoning are made from annotations by rules: what the annotators did not mark, no question knows of.
- Organs come from a segmenter, not from a person, unless the source had masks; a wrong mask gives a wrong place.
- Images of a volume are single slices: a question is about the slice and not about the scan.
- Splits are by the source's patient id: the same person under two ids is not noticed.
- How far answers follow from the wording alone is measured in `report.html`; read a model's score beside it."""


def _made(config: Mapping[str, Any]) -> str:
    rule = LINKING.get(config.get("linking", ""), "").format(min_coverage=config.get("min_coverage", 0.5))
    lines = [
        f"- organs: segmenter `{config['segmenter']}`" if config.get("segmenter") else "",
        f"- linking: `{config['linking']}`. {rule}" if config.get("linking") else "",
        f"- seed: {config['seed']}" if "seed" in config else "",
    ]
    return "## How organs and findings were linked\n\n" + ("\n".join(filter(None, lines)) or "Not recorded.")


def _measured(report: Mapping[str, Any]) -> str:
    blind, linking, unclear = report["blind_accuracy"], report["linking"], report["findings"]["unclear"]
    text_only = blind["text_only"]
    rows = [
        ("right without looking: majority answer", _percent(blind["accuracy"])),
        ("right from the wording alone: text-only classifier", _percent(text_only["accuracy"] if text_only else None)),
        ("findings without a clear organ", _percent(unclear["share"])),
        ("IoU-argmax names the same organ as coverage", _percent(linking["rate"])),
        ("patients in two splits", report["patients_in_several_splits"]["count"]),
        ("pictures, or look-alikes, in two splits", sum(report[k]["groups_across_splits"] for k in _REPEATS)),
    ]
    scored = "on the questions it was counted on" if blind["in_sample"] else "on the held-out splits"
    return f"## Measured\n\n{_table(('measure', 'value'), rows)}\n\nThe majority answer is scored {scored}."


_REPEATS = ("duplicates", "near_duplicates")


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"


def _table(heads: tuple[str, str], rows: Any) -> str:
    lines = [f"| {heads[0]} | {heads[1]} |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows)]
    return "\n".join(lines)


def _size(rows: int) -> str:
    """The hub's size category of a number of rows."""
    for limit, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if rows < limit:
            return name
    return "1M<n<10M" if rows < 10**7 else "n>10M"
