"""DICOM structured reports of template TID 1500: each measured region as a finding.

A planar (TID 1410) or volumetric (TID 1411) ROI group has a finding type, sites, measurements, qualitative evaluations,
and a region: image coordinates (SCOORD, PS3.3 C.18.6: origin at the outer corner of the first pixel, as here), patient
coordinates (SCOORD3D, C.18.9: millimetres, drawn on the slice whose plane they lie in), or a segment of a SEG object.
Only codes and numbers are taken: no text items, observers, tracking identifiers or dates.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from medclm import storage
from medclm.data.readers.base import ReadResult, Refused, plain
from medclm.data.readers.dicom_index import DicomIndex, FrameKey, index_images
from medclm.data.readers.dicom_records import (
    Gathered,
    annotation_objects,
    attribute_name,
    parsed,
    segmentation_addresses,
)
from medclm.data.readers.dicom_segments import SegFile
from medclm.data.readers.dicom_shapes import Shape, from_graphic, from_polygons

READER = "dicom-sr"
REGIONS = {"111030", "121231", "121191", "121214"}
"""DCM codes of Image Region, Volume Surface, Referenced Segment and Referenced Segmentation Frame."""


def read_sr(
    images: str,
    annotations: str,
    dataset: str,
    segmentations: str = "",
    point_px: float = 0.0,
    only_annotated: bool = False,
    complete: bool = False,
) -> ReadResult:
    """Read TID 1500 measurement reports (Enhanced, Comprehensive and Comprehensive 3D SR).

    Args:
        images: folder of DICOM images, at any depth, any fsspec address.
        annotations: an SR file or a folder with them.
        dataset: name that the records carry.
        segmentations: folder of the SEG objects that reports refer to; the one of ``annotations`` when not given.
        point_px: side of the box that stands for a region that is a point; 0 sets such regions aside.
        only_annotated: leave out images without a finding.
        complete: the reports annotate every image of the folder. Otherwise an image without a finding is not taken as
            free of findings: reports mark key images.

    Returns:
        One finding for each group and image. Its label is the meaning of the finding type (of the segment where the
        group has none); attributes are ``finding_site``, each measurement ("12.5 mm" by its name) and each coded
        evaluation.

    Raises:
        UsageError: a folder or file does not exist. MedclmError: the one file that was named is not DICOM.
    """
    gathered = Gathered(index_images(images), READER)
    fs, root = storage.open_fs(annotations)
    beside = annotations if fs.isdir(root) else posixpath.dirname(annotations) or "."
    segments = Segmentations(segmentations or beside, gathered.index)
    for name, document in annotation_objects(annotations, "SR", gathered):
        with gathered.guarded(name):
            for n, group in enumerate(_groups(document), 1):
                where = f"{name}: group {n}"
                with gathered.guarded(where, image_id=_first_image_uid(group)):
                    Group(group, where, gathered, segments, point_px).add()
    return gathered.result(dataset, only_annotated, complete)


def _groups(document: Any) -> list[Any]:
    """The measurement groups of a report as highdicom's templates, those without a region too."""
    from highdicom import sr
    from pydicom import uid

    classes: dict[str, Any] = {
        uid.EnhancedSRStorage: sr.EnhancedSR,
        uid.ComprehensiveSRStorage: sr.ComprehensiveSR,
        uid.Comprehensive3DSRStorage: sr.Comprehensive3DSR,
    }
    made = classes.get(document.SOPClassUID)
    if made is None:
        raise Refused("bad-annotation", f"a report of class {document.SOPClassUID} is not read")
    content = made.from_dataset(document, copy=False).content
    if not isinstance(content, sr.MeasurementReport):
        raise Refused("no-geometry", "the report is not made by template TID 1500")
    return [
        *content.get_planar_roi_measurement_groups(),
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]


def _first_image_uid(group: Any) -> str:
    """The first image that a group refers to, for the report of what was set aside; "" for none."""
    items = list(group[0].get("ContentSequence") or [])
    for item in items:
        items += item.get("ContentSequence") or []
    uids = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in items
        if item.get("ValueType") == "IMAGE" and item.get("ReferencedSOPSequence")
    ]
    return uids[0] if uids else ""


class Segmentations:
    """The SEG objects of a folder, looked up by UID when they are needed; the last few stay open."""

    def __init__(self, folder: str, index: DicomIndex) -> None:
        self._folder, self._index = folder, index
        self._addresses: dict[str, str] | None = None
        self.open = lru_cache(maxsize=4)(self._open)

    def _open(self, uid: str) -> SegFile:
        if self._addresses is None:
            self._addresses = segmentation_addresses(self._folder)
        address = self._addresses.get(uid)
        dataset = parsed(storage.read_bytes(address)) if address else None
        if address is None or dataset is None:
            raise Refused("no-geometry", f"the segmentation {uid} that holds the region is not there, or is broken")
        return SegFile(dataset, posixpath.basename(address), self._index)


class Group:
    """One measurement group over the pictures of an index."""

    def __init__(self, group: Any, where: str, gathered: Gathered, segments: Segmentations, point_px: float) -> None:
        self.group, self.where, self.gathered, self.segments = group, where, gathered, segments
        self.index, self.point_px = gathered.index, point_px
        kind = group.finding_type
        self.label = kind.meaning if kind is not None else ""

    def add(self) -> None:
        """Add the group's findings to what was gathered.

        Raises:
            Refused: it has no region that can be used.
        """
        attributes = attributes_of(self.group)
        count, lost = 0, len(self.gathered.rejects)
        for key, shape in self._shapes():
            count += 1
            mask = shape.mask if shape.mask.any() else None
            self.gathered.add(key, self.label, self.where, mask, shape.box_xyxy, attributes)
        for key, mask in self._segment_masks().items():
            count += 1
            self.gathered.add(key, self.label, self.where, mask, attributes=attributes)
        if not count and lost == len(self.gathered.rejects):
            raise Refused("no-geometry", "the group has no region, or an empty one")

    def _items(self, value_type: str) -> list[Any]:
        """The group's own content items that hold a region of a value type."""
        return [
            item
            for item in self.group[0].ContentSequence
            if item.ValueType == value_type and item.ConceptNameCodeSequence[0].CodeValue in REGIONS
        ]

    def _shapes(self) -> Iterator[tuple[FrameKey, Shape]]:
        for item in self._items("SCOORD"):
            points = np.asarray(item.GraphicData, dtype=np.float64).reshape(-1, 2)
            for image in item.ContentSequence:
                reference = image.ReferencedSOPSequence[0]
                numbers = reference.get("ReferencedFrameNumber")
                for number in [None] if numbers is None else np.atleast_1d(numbers).tolist():
                    key = self.index.key(str(reference.ReferencedSOPInstanceUID), number and int(number))
                    if item.get("PixelOriginInterpretation") == "VOLUME" and self.index.images[key[0]].frames > 1:
                        raise Refused("no-geometry", "the region is drawn on the whole of a tiled image")
                    yield key, self._shape(str(item.GraphicType), points, key)
        yield from self._spatial_shapes()

    def _shape(self, kind: str, points: np.ndarray, key: FrameKey) -> Shape:
        size_hw = self.index.images[key[0]].size_hw
        if kind == "POINT" and self.point_px > 0 and len(points) == 1:
            x, y = points[0].tolist()
            half = self.point_px / 2
            return Shape((x - half, y - half, x + half, y + half), np.zeros(size_hw, bool))
        return from_graphic(kind, points, size_hw, close=True)  # an Image Region is an area, also where it is left open

    def _spatial_shapes(self) -> Iterator[tuple[FrameKey, Shape]]:
        """Regions in patient coordinates: flat ones on their slice (several polygons of a slice by the even-odd rule),
        ellipsoids on every slice that they reach."""
        polygons: dict[FrameKey, list[np.ndarray]] = {}
        for item in self._items("SCOORD3D"):
            kind, reference = str(item.GraphicType), str(item.ReferencedFrameOfReferenceUID)
            points = np.asarray(item.GraphicData, dtype=np.float64).reshape(-1, 3)
            if kind == "ELLIPSOID":
                yield from ellipsoid_shapes(points, reference, self.index)
                continue
            key = self.index.at(points, reference)
            plane = self.index.plane(key)
            assert plane is not None  # the index places only pictures with a plane
            flat, _ = plane.to_pixels(points)
            if kind == "POLYGON":
                polygons.setdefault(key, []).append(flat)
            else:
                yield key, self._shape(kind, flat, key)
        for key, contours in polygons.items():
            yield key, from_polygons(contours, self.index.images[key[0]].size_hw)

    def _segment_masks(self) -> dict[FrameKey, np.ndarray]:
        """The referred segment by picture, (H, W) bool; a segment without the group's finding type gives its label."""
        masks: dict[FrameKey, np.ndarray] = {}
        for item in self._items("IMAGE"):
            reference = item.ReferencedSOPSequence[0]
            file = self.segments.open(str(reference.ReferencedSOPInstanceUID))
            wanted, frames = reference.get("ReferencedSegmentNumber"), reference.get("ReferencedFrameNumber")
            numbers = set(file.segments) if wanted is None else {int(n) for n in np.atleast_1d(wanted)}
            picked = (
                range(int(file.seg.NumberOfFrames)) if frames is None else [int(n) - 1 for n in np.atleast_1d(frames)]
            )
            self.label = self.label or " ".join(file.segments[n].label_raw for n in sorted(numbers))
            for i in picked:
                for key, number, mask in file.frame_masks(i, self.gathered):
                    if number in numbers:
                        masks[key] = masks[key] | mask if key in masks else mask
        return {key: mask for key, mask in masks.items() if mask.any()}


def ellipsoid_shapes(points: np.ndarray, reference: str, index: DicomIndex) -> Iterator[tuple[FrameKey, Shape]]:
    """The cut of an ellipsoid (PS3.3 C.18.9.1.2: both ends of each of three axes, (6, 3) mm) with each slice."""
    if len(points) != 6:
        raise Refused("bad-annotation", f"an ellipsoid needs 6 points, got {len(points)}")
    half = (points[1::2] - points[::2]) / 2
    lengths_squared = (half**2).sum(axis=1)
    if not (lengths_squared > 0).all():
        raise Refused("no-geometry", "an ellipsoid needs three axes with a length")
    center = points.mean(axis=0)
    for key in index.volume(reference):
        plane = index.plane(key)
        size_hw = index.images[key[0]].size_hw
        assert plane is not None  # the index places only pictures with a plane
        _, distance = plane.to_pixels(center[None])
        if abs(distance[0]) > np.sqrt(lengths_squared.max()):
            continue
        y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
        offsets = plane.to_patient(np.stack([x.ravel(), y.ravel()], axis=1)) - center
        mask = (((offsets @ half.T / lengths_squared) ** 2).sum(axis=1) <= 1 + 1e-9).reshape(size_hw)
        if mask.any():
            rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            yield key, Shape((float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1)), mask)


def attributes_of(group: Any) -> dict[str, str]:
    """Coded facts of a group: sites, measurements with their unit, evaluations; names as :func:`attribute_name`."""
    found: dict[str, str] = {}
    sites = [_site(site) for site in group.finding_sites]
    if sites:
        found["finding_site"] = ", ".join(dict.fromkeys(sites))
    for measurement in group.get_measurements():
        if measurement[0].get("MeasuredValueSequence"):
            derivation = measurement.derivation.meaning if measurement.derivation else ""
            name = attribute_name(f"{measurement.name.meaning} {derivation}")
            found[name] = f"{plain(float(measurement.value))} {_unit(measurement.unit)}".strip()
    for evaluation in group.get_qualitative_evaluations():
        found[attribute_name(evaluation.name.meaning)] = evaluation.value.meaning
    return found


def _site(site: Any) -> str:
    modifiers = [code.meaning for code in (site.laterality, site.topographical_modifier) if code is not None]
    return " ".join([*modifiers, site.value.meaning])


def _unit(unit: Any) -> str:
    """UCUM's symbol; the meaning where the symbol has brackets (Hounsfield units, SUV); "" for a plain number."""
    if unit.value == "1" or re.fullmatch(r"\{[^}]*\}", unit.value):
        return ""
    return unit.meaning if unit.value[0] in "[{" else unit.value
