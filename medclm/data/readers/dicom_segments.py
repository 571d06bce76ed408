"""One DICOM segmentation object (SEG) over an index of images: its segments, and their masks picture by picture.

BINARY, FRACTIONAL and LABELMAP (PS3.3 A.51, C.8.20). Frames are decoded one at a time, so memory does not grow with
their number. A frame belongs to the image that it names as its source and whose plane it shares; one that names none
belongs to the slice of its frame of reference that shares its plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclm.data import anatomy
from medclm.data.readers.base import Refused
from medclm.data.readers.dicom_index import DicomIndex, FrameKey
from medclm.data.readers.dicom_plane import Plane, plane_of
from medclm.data.readers.dicom_records import Gathered, code_text, first_item

ORGAN_CATEGORIES = {"123037004", "T-D000A", "85756007", "T-D0050"}
"""Anatomical Structure and Tissue, as SNOMED CT and SRT code them (CID 7150)."""
BACKGROUND = "125040"
"""DCM code of the property type of a label map's background."""


@dataclass(frozen=True)
class Segment:
    """One item of the Segment Sequence.

    Args:
        organ: the vocabulary's name where the segment is an organ that it knows. A segment is an organ when its
            category is Anatomical Structure or Tissue and neither its label nor its type is a known finding.
    """

    number: int
    label_raw: str
    is_organ: bool
    organ: str | None
    attributes: dict[str, Any]


def segment_of(item: Any, label: str) -> Segment:
    """A segment from its item; ``label`` as in :func:`read_seg`."""
    coded = first_item(item, "SegmentedPropertyTypeCodeSequence")
    modifier = code_text(coded.get("SegmentedPropertyTypeModifierCodeSequence"))  # mostly the side
    kind, text = code_text([coded]), str(item.get("SegmentLabel") or "").strip()
    modified = f"{modifier} {kind}".strip()
    category = first_item(item, "SegmentedPropertyCategoryCodeSequence")
    names = [modified, text, kind]
    finding = any(anatomy.finding_name(name) for name in names if name)
    is_organ = str(category.get("CodeValue")) in ORGAN_CATEGORIES and not finding
    organ = next((known for name in names if name and (known := anatomy.organ_name(name))), None)
    known_text = text and (anatomy.finding_name(text) or anatomy.organ_name(text))
    attributes = {
        "segment_number": int(item.SegmentNumber),
        "algorithm_type": str(item.get("SegmentAlgorithmType") or "").lower(),
        "property_category": str(category.get("CodeMeaning") or ""),
        "property_type": modified,
        "finding_site": code_text(item.get("AnatomicRegionSequence")),
    }
    chosen = text if label == "segment" or (label == "auto" and known_text) or not kind else modified
    return Segment(int(item.SegmentNumber), chosen, is_organ, organ if is_organ else None, attributes)


class SegFile:
    """One SEG object over an index.

    Args:
        dataset: the pydicom dataset. name: for messages. threshold, label: see :func:`read_seg`.

    Raises:
        Refused: (bad-segmentation) highdicom cannot read it.
    """

    def __init__(self, dataset: Any, name: str, index: DicomIndex, threshold: float = 0.5, label: str = "auto") -> None:
        import highdicom

        try:
            self.seg = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
        except Exception as error:  # highdicom checks the whole object and raises what it meets
            raise Refused("bad-segmentation", f"not a valid segmentation ({type(error).__name__})") from error
        self.name, self.index, self.threshold = name, index, threshold
        self.kind = str(dataset.SegmentationType)
        described = {int(item.SegmentNumber): item for item in dataset.SegmentSequence}
        self._background = _background(described, dataset) if self.kind == "LABELMAP" else set()
        items = {n: item for n, item in described.items() if n not in self._background}
        self.segments = {n: segment_of(item, label) for n, item in items.items()}
        self._shared = first_item(dataset, "SharedFunctionalGroupsSequence")
        self._groups = dataset.get("PerFrameFunctionalGroupsSequence") or []

    def masks(self, gathered: Gathered) -> Iterator[tuple[FrameKey, int, np.ndarray]]:
        """(picture, segment number, (H, W) bool on the picture's pixels) of every frame; what cannot be placed is set
        aside in ``gathered``, and so is every frame of an object without a frame description."""
        if len(self._groups) != int(self.seg.NumberOfFrames):
            gathered.lose(self.name, Refused("no-geometry", "the frames do not say what they show"))
            return
        for i in range(len(self._groups)):
            yield from self.frame_masks(i, gathered)

    def frame_masks(self, i: int, gathered: Gathered) -> Iterator[tuple[FrameKey, int, np.ndarray]]:
        """:meth:`masks` of the 0-based frame ``i``."""
        where = f"{self.name}: frame {i + 1}"
        found: list[tuple[FrameKey, int, np.ndarray]] = []
        with gathered.guarded(where, image_id=self._source_uid(i)):
            key, plane = self._picture(i)
            size_hw = self.index.images[key[0]].size_hw
            for number, mask in self._decoded(i):
                if number not in self.segments:
                    raise Refused("unknown-category", f"segment {number} is not described")
                found.append((key, number, _on_grid(mask, plane, self.index.plane(key), size_hw)))
        yield from found

    def _decoded(self, i: int) -> list[tuple[int, np.ndarray]]:
        """Segment numbers and (h, w) bool masks of a frame; empty ones are left out."""
        pixels = self.seg.get_stored_frame(i, as_index=True)
        if self.kind == "LABELMAP":
            return [(int(n), pixels == n) for n in np.unique(pixels) if int(n) not in self._background]
        groups = [self._groups[i], self._shared]
        item = next(g.SegmentIdentificationSequence[0] for g in groups if "SegmentIdentificationSequence" in g)
        limit = self.threshold * int(self.seg.MaximumFractionalValue) if self.kind == "FRACTIONAL" else 1
        mask = pixels >= max(limit, 1)
        return [(int(item.ReferencedSegmentNumber), mask)] if mask.any() else []

    def _sources(self, i: int) -> list[Any]:
        groups = [self._groups[i], self._shared]
        derivations = [d for g in groups for d in g.get("DerivationImageSequence") or []]
        return [source for d in derivations for source in d.get("SourceImageSequence") or []]

    def _source_uid(self, i: int) -> str:
        sources = self._sources(i)
        return str(sources[0].get("ReferencedSOPInstanceUID") or "") if sources else ""

    def _picture(self, i: int) -> tuple[FrameKey, Plane | None]:
        """The picture that a frame belongs to, and the frame's own plane."""
        plane = plane_of([self._groups[i], self._shared])
        missing: Refused | None = None
        for source in self._sources(i):
            number = source.get("ReferencedFrameNumber")
            numbers = [None] if number is None else [number] if isinstance(number, (int, str)) else list(number)
            for n in numbers:
                try:
                    key = self.index.key(str(source.ReferencedSOPInstanceUID), None if n is None else int(n))
                except Refused as refused:
                    missing = refused
                    continue
                if plane is None or self.index.plane(key) is None or self._coincide(key, plane):
                    return key, plane
                missing = Refused("bad-segmentation", "the frame does not lie in the plane of its source image")
        if missing is not None:
            raise missing
        if plane is None:
            raise Refused("no-geometry", "the frame names no source image and has no position")
        return self.index.at(self._corners(plane), str(self.seg.get("FrameOfReferenceUID") or "")), plane

    def _coincide(self, key: FrameKey, plane: Plane) -> bool:
        own = self.index.plane(key)
        return own is not None and own.distance(self._corners(plane)) <= self.index.tolerance_mm(key)

    def _corners(self, plane: Plane) -> np.ndarray:
        """(3, 3) mm: three corners of a frame."""
        width, height = self.seg.Columns, self.seg.Rows
        return plane.to_patient(np.array([[0, 0], [width, 0], [0, height]]))


def _background(described: dict[int, Any], dataset: Any) -> set[int]:
    """Values of a label map that are no segment: Pixel Padding Value, those coded as background, an undescribed 0
    (PS3.3 C.8.20.2)."""

    def is_coded(item: Any) -> bool:
        return str(first_item(item, "SegmentedPropertyTypeCodeSequence").get("CodeValue")) == BACKGROUND

    values = {number for number, item in described.items() if is_coded(item)} | ({0} - set(described))
    padding = dataset.get("PixelPaddingValue")
    return values if padding is None else values | {int(padding)}


def _on_grid(mask: np.ndarray, plane: Plane | None, own: Plane | None, size_hw: tuple[int, int]) -> np.ndarray:
    """The mask on the picture's own pixels."""
    if plane is None or own is None or (mask.shape == size_hw and plane.is_same(own)):
        if mask.shape != size_hw:
            raise Refused("bad-segmentation", f"a mask of {mask.shape}, a picture of {size_hw}, and no positions")
        return mask
    return plane.resampled(mask, own, size_hw)
