"""YOLO label folders: for each image a TXT file, one line a finding, coordinates as shares of the picture.

``class cx cy w h`` is a box by its centre and extent; ``class x1 y1 x2 y2 x3 y3 …`` is a polygon (a rotated box is one
of four points). An image without a file has no findings, as the format's authors define it. Class names come from the
option, else from ``data.yaml`` or ``classes.txt`` in or above the folders. Pictures are measured by their headers.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

import yaml

from medclm import storage
from medclm.data.readers.base import IMAGE_SUFFIXES, SPLITS, Listing, ReadResult, Refused, make_finding, number, stem
from medclm.data.readers.collect import Collector
from medclm.data.readers.polygons import outline
from medclm.data.records import BoxXyxy
from medclm.data.sizes import read_sizes
from medclm.data.threads import in_threads
from medclm.errors import MedclmError, UsageError

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
Names = dict[int, str]


def read_yolo(
    images: str, annotations: str, dataset: str, names: Sequence[str] | dict[int, str] | str | None = None
) -> ReadResult:
    """Read a folder of YOLO labels, and every image of the image folder.

    Args:
        images: folder of the images, any fsspec address. A folder below it that is called train, val … is the split.
        annotations: folder of the TXT files, any fsspec address: ``a/b.png`` has ``a/b.txt`` there, or ``b.txt`` where
            one of the two folders is flat; ``…/images/…`` has ``…/labels/…``.
        dataset: name that the records carry.
        names: class names in order, by number, or as one text with commas.

    Raises:
        UsageError: there is no such folder. MedclmError: there are no class names, or the labels are of key points.
    """
    classes = _given(names) if names else _found([annotations, _parent(annotations), images, _parent(images)])
    labels = Listing(annotations)
    collector = Collector(images, dataset, "yolo", skip=(".txt",))
    files = _pair(collector, labels)
    texts = in_threads(_read_text, [labels.uri(path) for path in files.values()])
    lines: dict[str, list[tuple[int, str]]] = {}
    for (image_id, path), text in zip(files.items(), texts, strict=True):
        if text is None:
            collector.drop(Refused("bad-image-entry", "the label file is not UTF-8 text"), image_id, path)
            continue
        found = [(index, line) for index, line in enumerate(text.splitlines(), start=1) if line.strip()]
        lines |= {image_id: found} if found else {}
    sizes = read_sizes([collector.uri(image_id) for image_id in lines])
    for (image_id, found), size in zip(lines.items(), sizes, strict=True):
        if isinstance(size, MedclmError):
            collector.drop(Refused("unreadable-image", str(size)), image_id, files[image_id])
            continue
        for index, line in found:
            finding_id, where = f"{image_id}:{index}", f"{files[image_id]}: line {index}"
            with collector.entry(image_id, where, finding_id):
                _line(line, size, classes, image_id, finding_id, collector)
    return collector.result()


def _pair(collector: Collector, labels: Listing) -> dict[str, str]:
    """Label files by image id. Opens every image; a label file without one is set aside."""
    texts = {path for path in labels.files if path.lower().endswith(".txt") and not _no_labels(path)}
    files: dict[str, str] = {}
    claimed: set[str | None] = set()
    without = 0
    for path in collector.listing.files:
        if not path.lower().endswith(IMAGE_SUFFIXES) or posixpath.basename(path).startswith("."):
            continue
        found = _label_file(path, labels, texts)
        claimed.add(found)
        image_id = collector.image(path, path)
        if image_id is None:
            continue
        collector.describe(image_id, split=next((SPLITS[p] for p in path.split("/")[:-1] if p in SPLITS), None))
        if found is None:
            without += 1
        else:
            files[image_id] = found
    for path in sorted(texts - claimed):
        collector.refuse(Refused("missing-image", f"there is no image for {path!r}"), stem(path), path)
    if without:
        collector.notes.append(f"{without} images have no label file: in this format they are images without findings")
    return files


def _no_labels(path: str) -> bool:
    name = posixpath.basename(path)
    return name in NAME_FILES or name.startswith(".")


def _label_file(path: str, labels: Listing, texts: set[str]) -> str | None:
    """The label file of an image, both relative to their folders."""
    name = posixpath.splitext(path)[0] + ".txt"
    head, images, tail = f"/{name}".rpartition("/images/")
    for candidate in (f"{head}/labels/{tail}".strip("/") if images else name, name):
        try:
            if (found := labels.find(candidate)) in texts:
                return found
        except Refused:
            continue
    return None


def _read_text(uri: str) -> str | None:
    try:
        return storage.read_bytes(uri).decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _line(
    line: str, size_hw: tuple[int, int], classes: Names, image_id: str, finding_id: str, collector: Collector
) -> None:
    parts = line.split()
    if not parts[0].isdecimal():
        raise Refused("bad-annotation", f"a line must begin with the number of a class, got {parts[0]!r}")
    if int(parts[0]) not in classes:
        raise Refused("unknown-category", f"class {parts[0]} has no name; there are {len(classes)}")
    values = [number(part, "a coordinate") for part in parts[1:]]
    rle = None
    if len(values) == 4:
        box = box_of(values, size_hw)
    elif len(values) >= 6 and len(values) % 2 == 0:
        height, width = size_hw
        box, rle = outline([(x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True)], size_hw)
    else:
        what = "4 numbers of a box or an even number from 6 on of a polygon"
        raise Refused("bad-annotation", f"after the class come {what}, got {len(values)}")
    label = classes[int(parts[0])]
    collector.add(image_id, make_finding(finding_id, label, box, "yolo", size_hw, rle, notes=collector.notes))


def box_of(values: Sequence[float], size_hw: tuple[int, int]) -> BoxXyxy:
    """Centre and extent (cx, cy, w, h) as shares of the picture, as ``box_xyxy`` in pixels."""
    (cx, cy, w, h), (height, width) = values, size_hw
    return (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height


def _parent(folder: str) -> str:
    """The folder above, "" where the address has none."""
    return folder.rstrip("/").rpartition("/")[0]


def _given(names: Sequence[str] | dict[int, str] | str) -> Names:
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    return _checked(names, "the option `names`")


def _found(folders: list[str]) -> Names:
    """Class names from the first file that has them."""
    for folder in dict.fromkeys(folders):
        for name in NAME_FILES:
            if folder and storage.exists(address := storage.join(folder, name)):
                return _read_names(address)
    raise UsageError(
        "the class names are not known",
        where=folders[0],
        expected=f"{', '.join(NAME_FILES)} in or above the folder of the labels or of the images",
        remedy="put one there, or give the option names=A,B,C",
    )


def _read_names(address: str) -> Names:
    text = storage.read_bytes(address).decode("utf-8-sig", errors="replace")
    if address.endswith((".txt", ".names")):
        return _checked([line.strip() for line in text.splitlines() if line.strip()], address)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MedclmError("a file is not YAML", where=address, got=error) from error
    if not isinstance(document, dict) or "names" not in document:
        raise MedclmError("the file has no class names", where=address, expected="the key names")
    if "kpt_shape" in document:
        raise MedclmError("the labels are of key points", where=address, expected="boxes or polygons", got="kpt_shape")
    return _checked(document["names"], address)


def _checked(names: Any, where: str) -> Names:
    """Class names by number.

    Raises:
        MedclmError: they are no list of names and no map of numbers to names, or there is none.
    """
    try:
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        classes = {int(key): str(name) for key, name in pairs}
    except (TypeError, ValueError):
        classes = {}
    if not classes:
        raise MedclmError("the class names are no list of names", where=where, got=names)
    return classes
