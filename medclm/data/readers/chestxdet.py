"""ChestX-Det and ChestX-Det10 (Deepwise): a JSON list of ``{file_name, syms, boxes, polygons}``, one object an image.

``syms[i]`` is the label of ``boxes[i]``, its corners in pixels from 0, and of ``polygons[i]``, its outline as
``[[x, y], …]``. ChestX-Det10 has no outlines. The images are of NIH ChestX-ray14; where a file still has the name that
it has there, its beginning is the patient.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from medclm import storage
from medclm.data.readers.base import ReadResult, Refused, make_finding, name_stem, number
from medclm.data.readers.collect import Collector
from medclm.data.readers.polygons import outline
from medclm.data.readers.presets import NIH_PATIENT
from medclm.data.records import BoxXyxy
from medclm.data.sizes import read_sizes
from medclm.errors import MedclmError


def read_chestxdet(images: str, annotations: str, dataset: str) -> ReadResult:
    """Read a ChestX-Det file. An image with empty lists is one without findings.

    Args:
        images: folder of the images, any fsspec address.
        annotations: the JSON file, any fsspec address.
        dataset: name that the records carry.

    Raises:
        UsageError: there is no image folder. MedclmError: the file is not a list of such objects.
    """
    document = storage.read_json(annotations)
    if not isinstance(document, list):
        got = type(document).__name__
        raise MedclmError("the file is not a ChestX-Det list", where=annotations, expected="a list", got=got)
    collector = Collector(images, dataset, "chestx-det", skip=(".json",))
    entries = _entries(document, posixpath.basename(annotations), collector)
    marked = [image_id for image_id, (_, entry) in entries.items() if entry["syms"]]
    sizes = read_sizes([collector.uri(image_id) for image_id in marked])
    for image_id, size in zip(marked, sizes, strict=True):
        where, entry = entries[image_id]
        if isinstance(size, MedclmError):
            collector.drop(Refused("unreadable-image", str(size)), image_id, where)
        else:
            _findings(entry, image_id, where, size, collector)
    for image_id in collector:
        patient = re.match(NIH_PATIENT, image_id)
        collector.describe(image_id, patient_id=patient[1] if patient else "")
    return collector.result(modality="DX", plane="frontal")


def _entries(document: list[Any], name: str, collector: Collector) -> dict[str, tuple[str, dict[str, Any]]]:
    """Usable entries with their places, by image id; an image's second entry is set aside."""
    entries: dict[str, tuple[str, dict[str, Any]]] = {}
    for index, entry in enumerate(document):
        where = f"{name}: [{index}]"
        try:
            image_id = collector.image(_checked(entry)["file_name"], where)
            if image_id is None:
                continue
            if image_id in entries:
                if entry != entries[image_id][1]:
                    collector.incomplete.add(image_id)
                raise Refused("duplicate-image", f"{entries[image_id][0]} is of this image too; it is used")
            entries[image_id] = where, entry
        except Refused as error:
            known = entry.get("file_name") if isinstance(entry, dict) else None
            collector.refuse(error, name_stem(str(known)), where)
    return entries


def _checked(entry: Any) -> dict[str, Any]:
    """An object of the list, if it has all it needs."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
        raise Refused("bad-image-entry", "an entry needs a file_name")
    lists: list[Any] = [entry.get("syms"), entry.get("boxes"), entry.get("polygons")]
    if lists[2] is None:
        lists.pop()
    if not all(isinstance(values, list) for values in lists):
        raise Refused("bad-image-entry", "syms, boxes and polygons must be lists")
    counts = [len(values) for values in lists]
    if len(set(counts)) > 1:
        raise Refused("bad-image-entry", f"syms, boxes and polygons must be as many, got {counts}")
    return entry


def _findings(entry: dict[str, Any], image_id: str, where: str, size_hw: tuple[int, int], collector: Collector) -> None:
    outlines = entry.get("polygons") or [None] * len(entry["syms"])
    for index, (label, corners, points) in enumerate(zip(entry["syms"], entry["boxes"], outlines, strict=True)):
        finding_id = f"{image_id}:{index}"
        with collector.entry(image_id, f"{where}.boxes[{index}]", finding_id):
            if not isinstance(label, str):
                raise Refused("bad-annotation", f"a label must be text, got {label!r}")
            rle = outline(points, size_hw)[1] if points else None
            collector.add(
                image_id,
                make_finding(finding_id, label, _box(corners), "chestx-det", size_hw, rle, notes=collector.notes),
            )


def _box(corners: Any) -> BoxXyxy:
    if not isinstance(corners, list) or len(corners) != 4:
        raise Refused("bad-box", f"a box must be four numbers, got {corners!r}")
    x1, y1, x2, y2 = (number(value, "a corner") for value in corners)
    return x1, y1, x2, y2
