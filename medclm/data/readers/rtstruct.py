"""DICOM RT structure sets: the contours of each region of interest as masks on their slices.

Contour Data (PS3.3 C.8.8.6) are patient coordinates in millimetres. Image Position (Patient) is the *centre* of the
first pixel (C.7.6.2.1.1), so a contour point on that centre is (0.5, 0.5) here, where the origin is the pixel's outer
corner. A pixel belongs to a region when its centre lies inside; several contours of a region on one slice are filled
together by the even-odd rule, so an inner one is a hole (keyholes and CLOSEDPLANAR_XOR come out right as well).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from medclm.data import anatomy
from medclm.data.readers.base import ReadResult, Refused
from medclm.data.readers.dicom_index import DicomIndex, FrameKey, index_images
from medclm.data.readers.dicom_records import (
    ORGANS_AS,
    Gathered,
    annotation_objects,
    attribute_name,
    check_choice,
    code_text,
    patterns,
)
from medclm.data.readers.dicom_shapes import Shape, from_polygons

READER = "rtstruct"
LESION_TYPES = {"GTV", ""}
ORGAN_TYPES = {"ORGAN", "AVOIDANCE"}
"""RT ROI Interpreted Type (3006,00A4). Planning volumes (CTV, PTV …), the couch, markers and doses are neither."""
CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}


def read_rtstruct(
    images: str,
    annotations: str,
    dataset: str,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    organs_as: str = "organs",
    only_annotated: bool = False,
    complete: bool = False,
) -> ReadResult:
    """Read RT structure sets.

    Args:
        images: folder of the DICOM slices, at any depth, any fsspec address.
        annotations: an RTSTRUCT file or a folder with them.
        dataset: name that the records carry.
        include: shell patterns of ROI names, lower and upper case alike, as a list or with commas. Without any, lesions
            (:data:`LESION_TYPES`) and organs are taken by their interpreted type; with some, the ROIs that match,
            whatever their type.
        exclude: patterns of ROI names to leave out.
        organs_as: what organs become: "organs" of the record, "findings", or nothing ("skip").
        only_annotated: leave out images without a finding.
        complete: the objects annotate every image of the folder. Otherwise only images of the series that an object
            with findings refers to count as free of findings: one of organs alone says nothing about lesions.

    Raises:
        UsageError: an option, folder or file does not exist. MedclmError: the one file that was named is not DICOM.
    """
    check_choice("organs_as", organs_as, ORGANS_AS)
    gathered = Gathered(index_images(images), READER)
    for name, structures in annotation_objects(annotations, "RTSTRUCT", gathered):
        with gathered.guarded(name):
            rois = rois_of(structures)
            taken = [roi for roi in rois.values() if is_taken(roi, patterns(include), patterns(exclude))]
            if left := len(rois) - len(taken):
                gathered.notes.append(f"{name}: {left} of {len(rois)} ROIs were left out by type or name")
            for roi in taken:
                _add(roi, structures, name, gathered, organs_as)
            if any(not roi.is_organ or organs_as == "findings" for roi in taken):
                _cover(structures, gathered)
    return gathered.result(dataset, only_annotated, complete)


@dataclass(frozen=True)
class Roi:
    """One region of interest. ``organ`` is the vocabulary's name of an organ that it knows."""

    number: int
    name: str
    kind: str
    frame_of_reference_uid: str
    organ: str | None
    code: str

    @property
    def is_organ(self) -> bool:
        """By its type; a region without one by its name."""
        return self.kind in ORGAN_TYPES or (self.kind == "" and self.organ is not None)


def rois_of(structures: Any) -> dict[int, Roi]:
    """The ROIs of a structure set by number, with the type and code of their observation (PS3.3 C.8.8.5, C.8.8.8)."""
    observations = {int(item.ReferencedROINumber): item for item in structures.get("RTROIObservationsSequence") or []}
    rois = {}
    for item in structures.get("StructureSetROISequence") or []:
        number, name = int(item.ROINumber), str(item.get("ROIName") or "").strip()
        observation = observations.get(number, {})
        code = code_text(observation.get("RTROIIdentificationCodeSequence"))
        kind = str(observation.get("RTROIInterpretedType") or "").strip().upper()
        organ = next((known for text in (name, code) if text and (known := anatomy.organ_name(text))), None)
        reference = str(item.get("ReferencedFrameOfReferenceUID") or "")
        rois[number] = Roi(number, name, kind, reference, organ, code)
    return rois


def is_taken(roi: Roi, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Whether a ROI is wanted; patterns in lower case. See :func:`read_rtstruct`."""
    name = roi.name.lower()
    if any(fnmatchcase(name, pattern) for pattern in exclude):
        return False
    if include:
        return any(fnmatchcase(name, pattern) for pattern in include)
    return roi.kind in LESION_TYPES or roi.is_organ


def _add(roi: Roi, structures: Any, name: str, gathered: Gathered, organs_as: str) -> None:
    where = f"{name}: ROI {roi.number}"
    if roi.is_organ and (organs_as == "skip" or (organs_as == "organs" and roi.organ is None)):
        if organs_as == "organs":
            gathered.notes.append(f"{where} is an organ outside the vocabulary and was left out")
        return
    attributes = {"roi_type": attribute_name(roi.kind), "roi_code": roi.code}
    for key, shape in _shapes(roi, structures, where, gathered).items():
        if roi.is_organ and organs_as == "organs" and roi.organ:
            gathered.add_organ(key, roi.organ, shape.mask)
        else:
            mask = shape.mask if shape.mask.any() else None
            gathered.add(key, roi.name or roi.code, where, mask, shape.box_xyxy, attributes)


def _shapes(roi: Roi, structures: Any, where: str, gathered: Gathered) -> dict[FrameKey, Shape]:
    """The region on each picture; contours that cannot be placed or filled are set aside."""
    contours: dict[FrameKey, list[np.ndarray]] = {}
    items = [
        contour
        for item in structures.get("ROIContourSequence") or []
        if int(item.ReferencedROINumber) == roi.number
        for contour in item.get("ContourSequence") or []
    ]
    if not items:
        gathered.lose(where, Refused("no-geometry", "the ROI has no contours"))
    for n, contour in enumerate(items, 1):
        with gathered.guarded(f"{where}, contour {n}", image_id=_image_uid(contour)):
            key, points_xy = placed(contour, roi.frame_of_reference_uid, gathered.index)
            contours.setdefault(key, []).append(points_xy)
    shapes = {}
    for key, found in contours.items():
        with gathered.guarded(where, key):
            shapes[key] = from_polygons(found, gathered.index.images[key[0]].size_hw)
    return shapes


def _image_uid(contour: Any) -> str:
    items = contour.get("ContourImageSequence") or []
    return str(items[0].get("ReferencedSOPInstanceUID") or "") if items else ""


def placed(contour: Any, frame_of_reference_uid: str, index: DicomIndex) -> tuple[FrameKey, np.ndarray]:
    """The picture of a contour and its points there, (N, 2) x, y from the outer corner of the first pixel.

    The picture is the one that the contour names, else the slice of the frame of reference that it lies in.

    Raises:
        Refused: (no-geometry) it is no closed planar contour; (no-image-entry) there is no such picture;
            (bad-segmentation) it does not lie in the plane of the picture that it names.
    """
    kind = str(contour.get("ContourGeometricType") or "")
    if kind not in CLOSED:
        raise Refused("no-geometry", f"a contour of type {kind or 'unknown'} encloses nothing")
    points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
    if uid := _image_uid(contour):
        number = contour.ContourImageSequence[0].get("ReferencedFrameNumber")
        key = index.key(uid, None if number is None else int(number))
    else:
        key = index.at(points, frame_of_reference_uid)
    plane = index.plane(key)
    if plane is None:
        raise Refused("no-geometry", "the image of the contour has no position in the patient")
    flat, _ = plane.to_pixels(points)
    if plane.distance(points) > index.tolerance_mm(key):
        raise Refused("bad-segmentation", f"the contour lies {plane.distance(points):.2f} mm off the image it names")
    return key, flat


def _cover(structures: Any, gathered: Gathered) -> None:
    """A structure set covers the series that it refers to (PS3.3 C.8.8.5)."""
    for reference in structures.get("ReferencedFrameOfReferenceSequence") or []:
        for study in reference.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                gathered.covered.update(gathered.index.series(str(series.get("SeriesInstanceUID") or "")))
