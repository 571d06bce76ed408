"""What every reader shares: its result, how one entry is refused, the listing of the image folder, checked boxes.

A reader is a function ``read_NAME(images, annotations, dataset, **options) -> ReadResult``. It reads annotations and
folder listings only; pixels are decoded later, in parallel. An entry that is wrong is set aside with a reason and
everything else is kept.
"""

from __future__ import annotations

import math
import posixpath
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from medclm import storage
from medclm.data import boxes, harmonise
from medclm.data.records import BoxXyxy, Finding, Record, Split
from medclm.data.rejects import Reject, RejectReason
from medclm.errors import UsageError

CLIP_PX = 1.0
"""A box that sticks out by up to this many pixels is clipped and noted; one that sticks out more is set aside."""


@dataclass(frozen=True)
class ReadResult:
    """What a reader found.

    Args:
        records: one per usable image, in the order of the file; no pixels, no organs.
        rejects: images and findings that were set aside.
        incomplete: ids of images that lost a finding, or whose source does not annotate every finding: their other
            questions are safe, their negatives and counts are not.
        notes: small repairs, in words.
    """

    records: list[Record]
    rejects: list[Reject] = field(default_factory=list)
    incomplete: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


class Refused(Exception):  # noqa: N818 - control flow inside readers, never seen outside
    """One entry cannot be used: ``reason`` is the code, ``detail`` the fault in words."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(detail)


def stem(path: str) -> str:
    """File name without folders and without its last extension (both of ``.nii.gz`` and ``.seg.nrrd``)."""
    name = posixpath.basename(path)
    for double in (".nii.gz", ".seg.nrrd"):
        if name.lower().endswith(double):
            return name[: -len(double)]
    return posixpath.splitext(name)[0]


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom")


def name_stem(name: str) -> str:
    """The stem of what an entry calls its image, which may be a stem already ("1.2.840.1", a UID, keeps its end)."""
    base = posixpath.basename(name.replace("\\", "/"))
    return stem(base) if base.lower().endswith((*IMAGE_SUFFIXES, ".nii.gz", ".nrrd", ".nii")) else base


class Listing:
    """The files under a folder, listed once (not one request a file).

    Args:
        folder: its address, any fsspec address.
        skip: endings, in lower case, of files that are not listed (annotations that lie beside the images).

    Attributes:
        folder: as given.
        files: paths relative to it, sorted.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, folder: str, skip: tuple[str, ...] = ()) -> None:
        fs, root = storage.open_fs(folder)
        if not fs.isdir(root):
            raise UsageError("there is no such image folder", where=folder)
        root = root.rstrip("/")
        self.folder = folder
        found = (path[len(root) + 1 :] for path in fs.find(root))
        self.files = sorted(path for path in found if not path.lower().endswith(skip))

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _ends(self) -> list[tuple[str, str]]:
        """(path from its end to its start, path), sorted, with and without the extension."""
        spelt = ((posixpath.join(posixpath.dirname(path), name), path) for path in self.files for name in _names(path))
        return sorted((_reversed(spelling), path) for spelling, path in spelt)

    def _starting(self, key: str) -> Iterator[str]:
        """The paths whose reversed spelling starts with ``key``."""
        place = bisect_left(self._ends, (key,))
        while place < len(self._ends) and self._ends[place][0].startswith(key):
            yield self._ends[place][1]
            place += 1

    def _meant(self, path: str) -> set[str]:
        """The files that end in ``path``, and those that it ends in; with extension or without."""
        key = _reversed(path).removesuffix("//")
        tails = [key[:place] for place, character in enumerate(key) if character == "/"]
        return {*self._starting(f"{key}/"), *(found for tail in (*tails, key) for found in self._starting(f"{tail}//"))}

    def find(self, name: str) -> str:
        """The relative path of the file that ``name`` means: a path, else a file name or stem that occurs once.

        Where both have folders, one must be the end of the other: ``b/1.png`` is never found as ``a/1.png``.

        Raises:
            Refused: (missing-image) there is none, or several.
        """
        path = posixpath.normpath(name.replace("\\", "/"))
        if path in self._paths:
            return path
        found = sorted(self._meant(path))
        if len(found) == 1:
            return found[0]
        if not found:
            raise Refused("missing-image", f"there is no file {name!r} in the image folder")
        raise Refused("missing-image", f"{name!r} could be any of {', '.join(found[:5])}")

    def uri(self, path: str) -> str:
        """The address of a file of the listing."""
        return storage.join(self.folder, path)


def _names(path: str) -> set[str]:
    return {posixpath.basename(path), stem(path)}


def _reversed(path: str) -> str:
    """The parts of a path from the last to the first, with a mark at the end: "b/1.png" is "1.png/b//"."""
    return "/".join(reversed(path.strip("/").split("/"))) + "//"


SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validate", "validation", "valid", "val", "dev"), "validate"),
    **dict.fromkeys(("test", "testing"), "test"),
}  # type: ignore[dict-item]
"""What datasets call their splits."""


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number (True and False are none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: object, what: str) -> float:
    """A finite number from a table cell or a JSON value.

    Raises:
        Refused: (bad-box) it is none.
    """
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise Refused("bad-box", f"{what} must be a finite number, got {value!r}")
    return found


def checked_box(box_xyxy: BoxXyxy, size_hw: tuple[int, int] | None) -> tuple[BoxXyxy, float]:
    """The box clipped to the picture, and by how many pixels it stuck out (0 where the size is not known yet).

    Raises:
        Refused: (bad-box) it has no area; (box-outside) it sticks out by more than :data:`CLIP_PX`.
    """
    x1, y1, x2, y2 = box_xyxy
    if not all(math.isfinite(v) for v in box_xyxy) or x1 >= x2 or y1 >= y2:
        raise Refused("bad-box", f"a box needs finite numbers, a positive width and height, got {box_xyxy}")
    if size_hw is None:
        return box_xyxy, 0.0
    clipped = boxes.clip_box(box_xyxy, size_hw)
    out_by = max(abs(a - b) for a, b in zip(box_xyxy, clipped, strict=True))
    if out_by > CLIP_PX or clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        height, width = size_hw
        raise Refused("box-outside", f"box {box_xyxy} leaves the {width} x {height} picture by {out_by:g} px")
    return clipped, out_by


def label_name(label_raw: str, source: str = "") -> str:
    """The vocabulary's name of a raw label, by the label table of ``source`` if it has one; unknown ones stay."""
    return harmonise.meaning(label_raw, source).finding or " ".join(label_raw.lower().replace("_", " ").split())


def make_finding(
    finding_id: str,
    label_raw: str,
    box_xyxy: BoxXyxy,
    source: str,
    size_hw: tuple[int, int] | None = None,
    mask_rle: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    notes: list[str] | None = None,
) -> Finding:
    """A finding with its label in the vocabulary and its box checked.

    Args:
        finding_id: unique in the image.
        label_raw: as the dataset writes it.
        box_xyxy: pixels of the stored image.
        source: the reader's name.
        size_hw: of the image; None where only decoding will tell (the box is checked then).
        mask_rle: see :func:`medclm.data.boxes.encode_rle`.
        attributes: values become text; missing ones (None, "") are left out.
        notes: a clipped box is noted here.

    Raises:
        Refused: the box cannot be used, or the label is empty.
    """
    if not str(label_raw).strip():
        raise Refused("bad-annotation", "the label is empty")
    box, out_by = checked_box(box_xyxy, size_hw)
    if out_by > 1e-6 and notes is not None:
        notes.append(f"box of finding {finding_id} stuck out by {out_by:g} px and was clipped")
    return Finding(
        id=finding_id,
        label=label_name(str(label_raw), source),
        label_raw=str(label_raw),
        box_xyxy=box,
        mask_rle=mask_rle,
        attributes={str(k): plain(v) for k, v in (attributes or {}).items() if v is not None and v != ""},
        source=source,
    )


def plain(value: Any) -> str:
    """An attribute value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
