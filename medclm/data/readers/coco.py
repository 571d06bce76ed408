"""COCO detection files (and the images beside them) as records without pixels.

An image or annotation that is wrong is set aside with a reason and everything else is kept. An image that lost an
annotation this way is named in ``ReadResult.incomplete``: what its remaining findings say is true, but nothing may be
concluded from what they do not say.
"""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from medclm.data import boxes
from medclm.data.readers.base import Listing, ReadResult, Refused, is_number, label_name, make_finding, stem
from medclm.data.records import BoxXyxy, Finding, Record, Source, Spacing
from medclm.data.rejects import Reject
from medclm.errors import MedclmError


def read_coco(images: str, annotations: str, dataset: str) -> ReadResult:
    """Read a COCO file and list the folder of its images.

    Args:
        images: folder of the images, any fsspec address; ``file_name`` is relative to it.
        annotations: the JSON file, any fsspec address.
        dataset: name that the records carry.

    Raises:
        MedclmError: the JSON cannot be read or lacks ``images``, ``annotations`` or ``categories``.
    """
    document = _load(annotations)
    name = posixpath.basename(annotations)
    categories = _categories(document, annotations)
    images_read = _read_images(document["images"], images, name)
    findings_read = _read_annotations(document["annotations"], images_read, categories, name)
    records = [
        _record(entry, images, dataset, findings_read.findings[entry.image_id]) for entry in images_read.by_key.values()
    ]
    return ReadResult(
        records=records,
        rejects=images_read.rejects + findings_read.rejects,
        incomplete=frozenset(findings_read.incomplete) & {record.image_id for record in records},
        notes=tuple(findings_read.notes),
    )


def _load(address: str) -> dict[str, Any]:
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            document = json.loads(file.read())
    except FileNotFoundError:
        raise MedclmError("there is no such annotation file", where=address) from None
    except ValueError as error:
        raise MedclmError(
            "the annotation file is not JSON, or is cut off",
            where=address,
            got=str(error),
            remedy="write or fetch the file again",
        ) from error
    keys = ("images", "annotations", "categories")
    if not isinstance(document, dict) or any(not isinstance(document.get(key), list) for key in keys):
        got = sorted(document) if isinstance(document, dict) else type(document).__name__
        raise MedclmError(
            "the annotation file is not a COCO detection file",
            where=address,
            expected="an object with the lists images, annotations and categories",
            got=got,
        )
    return document


def _categories(document: dict[str, Any], address: str) -> dict[Any, str]:
    """Category names by id."""
    names: dict[Any, str] = {}
    for index, entry in enumerate(document["categories"]):
        key, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if not _is_key(key) or not isinstance(name, str) or not name.strip():
            raise MedclmError("a category needs an id and a name", where=f"{address}: categories[{index}]", got=entry)
        if names.setdefault(key, name) != name:
            raise MedclmError(
                "two categories share one id", where=f"{address}: categories[{index}]", got=[names[key], name]
            )
    return names


def _is_key(value: object) -> bool:
    """Whether a JSON value can be an id."""
    return isinstance(value, (int, str)) and not isinstance(value, bool) and value != ""


@dataclass
class _Entry:
    """A usable entry of the list ``images``."""

    image_id: str
    file_name: str
    size_hw: tuple[int, int]
    raw: dict[str, Any]


@dataclass
class _Images:
    by_key: dict[Any, _Entry] = field(default_factory=dict)
    refused: set[Any] = field(default_factory=set)
    shadowed: dict[Any, str] = field(default_factory=dict)  # refused id -> the kept image that has its file stem
    rejects: list[Reject] = field(default_factory=list)


def _read_images(entries: list[Any], folder: str, name: str) -> _Images:
    present = frozenset(Listing(folder).files)
    read = _Images()
    taken: dict[str, _Entry] = {}
    for index, raw in enumerate(entries):
        key = raw.get("id") if isinstance(raw, dict) else None
        try:
            entry = _entry(raw, present)
            clash = read.by_key.get(key) or taken.get(entry.image_id)
            if clash is not None and clash.raw == raw:
                raise Refused("duplicate-image", "the same entry occurs twice; the first one is used")
            if clash is not None or key in read.refused:
                read.refused.add(key)
                read.shadowed[key] = entry.image_id
                raise Refused("duplicate-image", f"id {key!r} or file stem {entry.image_id!r} is used by another entry")
            read.by_key[key] = taken[entry.image_id] = entry
        except Refused as error:
            known = isinstance(raw, dict) and isinstance(raw.get("file_name"), str)
            image_id = stem(raw["file_name"]) if known else str(key)
            where = f"{name}: images[{index}]"
            read.rejects.append(Reject(image_id=image_id, where=where, reason=error.reason, detail=error.detail))
            if _is_key(key) and key not in read.by_key:
                read.refused.add(key)
    _drop_ambiguous(read, name)
    return read


def _drop_ambiguous(read: _Images, name: str) -> None:
    """An id that stands for two different entries is nobody's: the first of them goes too."""
    for key in [key for key in read.by_key if key in read.refused]:
        entry = read.by_key.pop(key)
        detail = f"id {key!r} stands for several entries"
        read.rejects.append(Reject(image_id=entry.image_id, where=name, reason="duplicate-image", detail=detail))


def _entry(raw: Any, present: frozenset[str]) -> _Entry:
    if not isinstance(raw, dict) or not _is_key(raw.get("id")) or not isinstance(raw.get("file_name"), str):
        raise Refused("bad-image-entry", "an image entry needs id and file_name")
    size = (raw.get("height"), raw.get("width"))
    if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in size):
        raise Refused("bad-image-entry", f"width and height must be positive whole numbers, got {size[1]}, {size[0]}")
    if raw.get("split") not in (None, "", "train", "validate", "test"):
        raise Refused("bad-image-entry", f"split must be train, validate or test, got {raw['split']!r}")
    day = raw.get("study_day")
    if day is not None and (not isinstance(day, int) or isinstance(day, bool) or day < 0):
        raise Refused("bad-image-entry", f"study_day must be a whole number of days from 0 on, got {day!r}")
    labels = raw.get("labels") or []
    if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
        raise Refused("bad-image-entry", f"labels must be a list of texts, got {labels!r}")
    _spacing(raw)
    file_name = posixpath.normpath(raw["file_name"])
    if not stem(file_name):
        raise Refused("bad-image-entry", f"file_name {raw['file_name']!r} names no file")
    if file_name not in present:
        raise Refused("missing-image", f"there is no file {raw['file_name']!r} in the image folder")
    return _Entry(stem(file_name), file_name, size, raw)  # type: ignore[arg-type]


def _spacing(raw: dict[str, Any]) -> Spacing | None:
    value = raw.get("spacing_mm")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(is_number(v) and v > 0 for v in value):
        raise Refused("bad-image-entry", f"spacing_mm must be [row, col] in millimetres, got {value!r}")
    return Spacing(row=value[0], col=value[1])


@dataclass
class _Findings:
    findings: dict[str, list[Finding]] = field(default_factory=lambda: defaultdict(list))
    rejects: list[Reject] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def _read_annotations(entries: list[Any], images: _Images, categories: dict[Any, str], name: str) -> _Findings:
    read = _Findings()
    seen: dict[Any, Any] = {}
    for index, raw in enumerate(entries):
        raw_image = raw.get("image_id") if isinstance(raw, dict) else None
        entry = images.by_key.get(raw_image) if _is_key(raw_image) else None
        where = f"{name}: annotations[{index}]"
        if entry is None and _is_key(raw_image) and raw_image in images.refused:
            if raw_image in images.shadowed:
                read.incomplete.add(images.shadowed[raw_image])
            continue  # the image was set aside with a reason, and its annotations with it
        try:
            if entry is None:
                raise Refused("no-image-entry", f"image_id {raw_image!r} is not in the list of images")
            finding = _finding(raw, entry, categories, read.notes)
            if finding.id in seen:
                same = "the same annotation twice; the first one is used"
                raise Refused("duplicate-annotation", same if seen[finding.id] == raw else "an id that is used twice")
            seen[finding.id] = raw
            read.findings[entry.image_id].append(finding)
        except Refused as error:
            finding_id = f"{entry.image_id}:{raw.get('id')}" if entry else None
            image_id = entry.image_id if entry else str(raw_image)
            read.rejects.append(
                Reject(image_id=image_id, where=where, reason=error.reason, detail=error.detail, finding_id=finding_id)
            )
            if entry is not None and not (error.reason == "duplicate-annotation" and seen[finding_id] == raw):
                read.incomplete.add(entry.image_id)
    return read


def _finding(raw: dict[str, Any], entry: _Entry, categories: dict[Any, str], notes: list[str]) -> Finding:
    if not _is_key(raw.get("id")):
        raise Refused("bad-annotation", "an annotation needs an id")
    key = raw.get("category_id")
    if not _is_key(key) or key not in categories:
        raise Refused("unknown-category", f"category_id {key!r} is not in the list of categories")
    if raw.get("iscrowd"):
        raise Refused("crowd", "a crowd region does not say how many findings it holds")
    finding_id = f"{entry.image_id}:{raw['id']}"
    rle = _mask_rle(raw.get("segmentation"), entry.size_hw)
    box = _box(raw, entry, rle)
    attributes = _attributes(raw.get("attributes"))
    return make_finding(finding_id, categories[key], box, "coco", entry.size_hw, rle, attributes, notes)


def _box(raw: dict[str, Any], entry: _Entry, rle: str | None) -> BoxXyxy:
    """The annotation's box; that of its mask where it has no ``bbox``."""
    value = raw.get("bbox")
    if value is None and rle is not None:
        return boxes.box_from_mask(boxes.decode_rle(rle, entry.size_hw))
    if not isinstance(value, list) or len(value) != 4 or not all(is_number(v) for v in value):
        raise Refused("bad-box", f"bbox must be four finite numbers [x, y, width, height], got {value!r}")
    if value[2] <= 0 or value[3] <= 0:
        raise Refused("bad-box", f"bbox needs a positive width and height, got {value!r}")
    return boxes.box_from_xywh(value)


def _mask_rle(segmentation: Any, size_hw: tuple[int, int]) -> str | None:
    """COCO polygons, compressed or uncompressed run lengths as a compressed string; None for no or an empty one."""
    if not segmentation:
        return None
    try:
        if isinstance(segmentation, list):
            mask = boxes.polygons_to_mask(segmentation, size_hw)
        else:
            if tuple(segmentation["size"]) != size_hw:
                raise ValueError(f"its size is {segmentation['size']}, the picture's [height, width] {list(size_hw)}")
            counts = segmentation["counts"]
            rle = counts if isinstance(counts, str) else boxes.rle_from_counts(counts, size_hw)
            mask = boxes.decode_rle(rle, size_hw)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise Refused("bad-segmentation", f"the segmentation cannot be read: {error}") from error
    return boxes.encode_rle(mask) if mask.any() else None


def _attributes(value: Any) -> dict[str, Any]:
    """The annotation's attributes, checked."""
    if value is None:
        return {}
    if not isinstance(value, dict) or any(isinstance(v, (dict, list)) for v in value.values()):
        raise Refused("bad-annotation", f"attributes must be an object of strings and numbers, got {value!r}")
    return value


def _record(entry: _Entry, folder: str, dataset: str, findings: list[Finding]) -> Record:
    raw = entry.raw

    def text(key: str) -> str:
        return str(raw.get(key) or "")

    return Record(
        image_id=entry.image_id,
        patient_id=text("patient_id") or entry.image_id,
        study_id=text("study_id"),
        dataset=dataset,
        split=raw.get("split") or None,
        modality=text("modality"),
        plane=text("plane"),
        view=text("view"),
        spacing_mm=_spacing(raw),
        study_day=raw.get("study_day"),
        labels=tuple(label_name(label) for label in raw.get("labels") or ()),
        source=Source(uri=f"{folder.rstrip('/')}/{entry.file_name}", reader="coco"),
        findings=tuple(findings),
    )
