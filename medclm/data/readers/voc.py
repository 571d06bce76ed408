"""Pascal VOC: one XML file an image.

Coordinates. The development kit of the VOC challenge counts pixels from 1 and both ends of a box are inside it: the
pixels ``xmin`` to ``xmax`` are, from 0 and with the end outside, ``xmin - 1`` to ``xmax``. That is ``one_based``, the
default. Other programs write edges, from 0 with the end outside, under the same names; a coordinate below 1 gives them
away, and a note says so. A file of theirs in which no box touches the upper or left border cannot be told.
"""

from __future__ import annotations

import posixpath
from xml.etree import ElementTree

from medclm import storage
from medclm.data.readers.base import Listing, ReadResult, Refused, make_finding, number, stem
from medclm.data.readers.collect import Collector
from medclm.data.records import BoxXyxy
from medclm.data.threads import in_threads
from medclm.errors import MedclmError

FLAGS = ("difficult", "truncated", "occluded")
"""Elements of an object that say 0 or 1."""
UNSAID = {"", "unspecified"}


def read_voc(images: str, annotations: str, dataset: str, one_based: bool = True) -> ReadResult:
    """Read a folder of VOC files. Images without a file are left out; a file without objects is one without findings.

    Args:
        images: folder of the images, any fsspec address.
        annotations: folder of the XML files, any fsspec address; may be the same.
        dataset: name that the records carry.
        one_based: pixels are counted from 1 with both ends inside (VOC); False: edges from 0 with the end outside.

    Raises:
        UsageError: there is no such folder. MedclmError: there is no XML file in it, or one cannot be read.
    """
    listing = Listing(annotations)
    files = [path for path in listing.files if path.lower().endswith(".xml") and not _hidden(path)]
    if not files:
        raise MedclmError("there is no Pascal VOC file", where=annotations, expected="files named *.xml")
    collector = Collector(images, dataset, "voc", skip=(".xml",))
    below_one = 0
    for path, data in zip(files, in_threads(storage.read_bytes, [listing.uri(p) for p in files]), strict=True):
        try:
            below_one += _read_file(path, data, collector, one_based)
        except Refused as error:
            collector.refuse(error, stem(path), path)
    if below_one:
        collector.notes.append(
            f"{below_one} boxes start below pixel 1, which VOC's count from 1 does not have: if the program that "
            "wrote them counts from 0, read them with one_based=false"
        )
    return collector.result()


def _hidden(path: str) -> bool:
    return posixpath.basename(path).startswith(".")


def _read_file(path: str, data: bytes, collector: Collector, one_based: bool) -> int:
    """Reads one file; how many of its boxes start below 1 although they should not."""
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise Refused("bad-image-entry", f"the file is not XML: {error}") from error
    if root.tag != "annotation":
        raise Refused("bad-image-entry", f"expected a file of <annotation>, got <{root.tag}>")
    image_id = _image(root, path, collector)
    if image_id is None:
        return 0
    size_hw = _size(root)
    below_one = 0
    for index, element in enumerate(root.findall("object"), start=1):
        finding_id, where = f"{image_id}:{index}", f"{path}: object {index}"
        with collector.entry(image_id, where, finding_id):
            raw_box = _corners(element)
            below_one += one_based and min(raw_box[:2]) < 1
            box = from_one_based(raw_box) if one_based else raw_box
            label, attributes = _text(element, "name"), _attributes(element)
            finding = make_finding(finding_id, label, box, "voc", size_hw, attributes=attributes, notes=collector.notes)
            collector.add(image_id, finding)
    return below_one


def from_one_based(box: BoxXyxy) -> BoxXyxy:
    """VOC's (xmin, ymin, xmax, ymax), from 1 with both ends inside, as ``box_xyxy``."""
    xmin, ymin, xmax, ymax = box
    return xmin - 1, ymin - 1, xmax, ymax


def _image(root: ElementTree.Element, path: str, collector: Collector) -> str | None:
    """The image of a file: the one it names, else (renamed or converted since) the one with the file's own stem."""
    name = _text(root, "filename")
    try:
        found = collector.listing.find(name or stem(path))
    except Refused as error:
        try:
            found = collector.listing.find(stem(path))
        except Refused:
            collector.refuse(error, stem(name or path), path)
            return None
    image_id = stem(found)
    if image_id in collector:
        raise Refused("duplicate-image", f"another file annotates {found!r} too; the first one is used")
    return collector.image(found, path)


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """The picture's size where the file says it; some programs write 0."""
    try:
        size_hw = (int(float(_text(root, "size/height"))), int(float(_text(root, "size/width"))))
    except ValueError:
        return None
    return size_hw if min(size_hw) > 0 else None


def _corners(element: ElementTree.Element) -> BoxXyxy:
    x1, y1, x2, y2 = (number(_text(element, f"bndbox/{name}"), name) for name in ("xmin", "ymin", "xmax", "ymax"))
    return x1, y1, x2, y2


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    """Flags, the pose, and the name-value pairs of ``<attributes>`` that some programs add."""
    said = {name: _text(element, name) for name in ("pose", *FLAGS)}
    for name in FLAGS:
        said[name] = {"0": "no", "1": "yes"}.get(said[name], said[name])
    for pair in element.iterfind("attributes/attribute"):
        said[_text(pair, "name")] = _text(pair, "value")
    return {name: value for name, value in said.items() if name and value.lower() not in UNSAID}


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
