"""Grounding: where is each labelled thing. SLAKE's ``detection.json``, ChestX-Det, and your own boxes in COCO.

One question for each (image, label); its reference is every box with that label. There is no answer in words, so these
questions are in no accuracy.
"""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict

from medclm import storage
from medclm.data.readers.base import ReadResult
from medclm.data.records import BoxXyxy
from medclm.errors import UsageError
from medclm.eval.benchmarks import GROUNDING, LAYOUTS, Benchmark, Item
from medclm.eval.grounding import CONTEXT_STEPS

QUESTION = "Where is the {name}?"


def load_slake(directory: str, split: str = "") -> Benchmark:
    """``imgs/xmlabN/detection.json``: lists of ``{label: [x, y, width, height]}``, organs and lesions alike.

    Only images of the split's question file are asked about, where that file is there.
    """
    folder = storage.join(directory, "imgs")
    files = storage.list_files(folder, "*/detection.json")
    if not files:
        raise UsageError("there are no boxes", where=folder, expected=LAYOUTS["slake-boxes"])
    questions = storage.join(directory, f"{split or 'test'}.json")
    wanted = _slake_images(questions) if storage.exists(questions) else None
    items: list[Item] = []
    faults: list[str] = []
    for file in files:
        image_id = posixpath.basename(posixpath.dirname(file))
        if wanted is not None and image_id not in wanted:
            continue
        boxes, fault = _slake_boxes(file)
        faults += [fault] if fault else []
        picture = file.removesuffix("detection.json") + "source.jpg"
        items += _items(image_id, picture if storage.exists(picture) else None, boxes)
    notes = [f"images of {posixpath.basename(questions)}" if wanted else "all images: the question file is missing"]
    notes += [f"{len(faults)} files have faults; the first: {faults[0]}"] if faults else []
    return Benchmark("slake-boxes", directory, tuple(items), (), "image", tuple(notes))


def load_chestxdet(directory: str, split: str = "") -> Benchmark:
    """ChestX-Det (Liu et al., 2020) or ChestX-Det10: the JSON of the split, beside or below it the images."""
    from medclm.data.readers.chestxdet import read_chestxdet

    split = split or "test"
    files = [file for file in storage.list_files(directory, "*.json") if split in posixpath.basename(file).lower()]
    if not files:
        raise UsageError("there is no ChestX-Det file", where=directory, expected=LAYOUTS["chestx-det"])
    result = read_chestxdet(directory, files[0], "chestx-det")
    return _of_records(result, directory, "chestx-det", posixpath.basename(files[0]))


def load_coco(directory: str, split: str = "") -> Benchmark:
    """``annotations.json`` (or ``SPLIT.json``) and ``images/``, such as ``medclm sample phantom`` writes."""
    from medclm.data.readers.coco import read_coco

    file = storage.join(directory, f"{split or 'annotations'}.json")
    if not storage.exists(file):
        raise UsageError("there is no annotation file", where=file, expected=LAYOUTS["boxes"])
    result = read_coco(storage.join(directory, "images"), file, "boxes")
    return _of_records(result, directory, "boxes", posixpath.basename(file))


def _of_records(result: ReadResult, directory: str, name: str, file: str) -> Benchmark:
    from medclm.data import anatomy

    items: list[Item] = []
    for record in result.records:
        boxes: dict[str, list[BoxXyxy]] = defaultdict(list)
        for finding in record.findings:
            boxes[anatomy.finding_text(finding.label)].append(finding.box_xyxy)
        for item in _items(record.image_id, record.source.uri, boxes, record.patient_id, record.modality):
            items.append(item)
    notes = [f"{file}: {len(result.records)} images, {len(items)} labels on them"]
    notes += [f"{len(result.rejects)} entries were set aside: {result.rejects[0].detail}"] if result.rejects else []
    return Benchmark(name, directory, tuple(items), (), "image", (*notes, *result.notes[:3]))


def _items(
    image_id: str, image: str | None, boxes: dict[str, list[BoxXyxy]], patient_id: str = "", modality: str = ""
) -> list[Item]:
    return [
        Item(
            id=f"{image_id}:{label}",
            image_id=image_id,
            patient_id=patient_id or image_id,
            image=image,
            question=QUESTION.format(name=label),
            answer="",
            type=GROUNDING,
            closed=False,
            boxes=tuple(found),
            ignore_steps=CONTEXT_STEPS,
            problem="" if image else f"the picture of {image_id} is missing",
            modality=modality,
        )
        for label, found in sorted(boxes.items())
    ]


def _slake_images(file: str) -> set[str]:
    rows = storage.read_json(file)
    return {posixpath.dirname(str(row.get("img_name", ""))) for row in rows if isinstance(row, dict)}


def _slake_boxes(file: str) -> tuple[dict[str, list[BoxXyxy]], str]:
    """Boxes by label in lower case, and what is wrong with the file, if anything is."""
    found: dict[str, list[BoxXyxy]] = defaultdict(list)
    fault = ""
    try:
        entries = json.loads(storage.read_bytes(file))
    except ValueError as error:
        return found, f"{file}: not JSON ({error})"
    for entry in entries if isinstance(entries, list) else []:
        for label, box in entry.items() if isinstance(entry, dict) else []:
            numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)
            if numbers and box[2] > 0 and box[3] > 0:
                x, y, width, height = (float(value) for value in box)
                found[str(label).strip().lower()].append((x, y, x + width, y + height))
            else:
                fault = f"{file}: {label!r} has the box {box!r}"
    return found, fault
