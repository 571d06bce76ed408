"""Volumes from the folder of one DICOM series: headers first, slices sorted along their normal, faults named."""

from __future__ import annotations

import posixpath
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclm import storage
from medclm.data.dicom import is_dicom, read_dicom
from medclm.data.grid import Grid, grid_of
from medclm.data.picture import MAX_PIXELS
from medclm.data.readers.dicom_index import BLOCK_BYTES, NOT_IMAGES
from medclm.data.readers.dicom_plane import MM, Plane, plane_of
from medclm.data.threads import in_threads
from medclm.data.volumes import SliceFile, Volume
from medclm.errors import MedclmError

_TAGS = [
    "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "Rows", "Columns", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
GAP_SHARE = 0.1
"""By how much of a step two steps may differ: headers round positions, a missing slice doubles a step."""


@dataclass(frozen=True)
class Series:
    """What the headers of a series say.

    Args:
        grid: of the volume. slices: in its order, so that slice 0 has the lowest position along the normal.
        modality, patient_id, study_id, series_uid: as the headers have them.
    """

    grid: Grid
    slices: tuple[SliceFile, ...]
    modality: str
    patient_id: str
    study_id: str
    series_uid: str


def find_series(folder: str) -> Series | None:
    """The DICOM series that lies alone in a folder (not in folders below it); None where it holds no DICOM image.

    Args:
        folder: any fsspec address; files that are no DICOM images are passed over.

    Raises:
        MedclmError: there is one slice only, slices of several series, of several sizes or not parallel, two slices in
            one place, or steps that differ (a slice is missing).
    """
    found = [frame for frames in in_threads(_frames, storage.list_files(folder)) for frame in frames]
    if not found:
        return None
    if len(found) == 1:
        raise _fault(folder, "there is no volume", "two slices or more of a series", "one slice")
    for what, key in (("series", "SeriesInstanceUID"), ("sizes", "size")):
        kinds = sorted({str(frame.facts[key]) for frame in found})
        if len(kinds) > 1:
            raise _fault(folder, f"slices of several {what} lie in one folder", "one", len(kinds))
    placed = [(frame.plane, frame.slice) for frame in found if frame.plane is not None]
    if len(placed) < len(found):
        got = next(frame.slice.uri for frame in found if frame.plane is None)
        raise _fault(folder, "a slice does not say where it lies in the patient", "a position", got)
    normal, facts = placed[0][0].axes[2], found[0].facts
    placed.sort(key=lambda entry: float(np.array(entry[0].position_mm) @ normal))
    rows, cols = facts["size"]
    affine = _affine(folder, [plane for plane, _ in placed])
    return Series(
        grid=grid_of((cols, rows, len(placed)), affine, (0, 0, 0)),
        slices=tuple(where for _, where in placed),
        modality=facts["Modality"],
        patient_id=facts["PatientID"],
        study_id=facts["StudyInstanceUID"],
        series_uid=facts["SeriesInstanceUID"],
    )


def read_series_header(folder: str) -> Series:
    """As :func:`find_series`; a folder without a DICOM image is an error too."""
    series = find_series(folder)
    if series is None:
        raise _fault(folder, "there is no volume", "two slices or more of a series", "no DICOM image")
    return series


def read_series(folder: str) -> Volume:
    """The series with its pixels, float32 in modality units; errors as :func:`read_series_header`, and of decoding."""
    series = read_series_header(folder)
    values: list[np.ndarray] = []
    data, uri = b"", ""
    for where in series.slices:
        if where.uri != uri:
            data, uri = storage.read_bytes(where.uri), where.uri
        values.append(read_dicom(data, uri, where.frame, MAX_PIXELS).values)
    return Volume(np.stack(values), series.grid, "dicom", modality=series.modality, slices=series.slices)


@dataclass(frozen=True)
class _Frame:
    slice: SliceFile
    plane: Plane | None
    facts: dict[str, Any]


def _frames(uri: str) -> list[_Frame]:
    """The pictures of one file; none of a file that is no DICOM image."""
    import pydicom

    fs, path = storage.open_fs(uri)

    def read() -> Any:
        with fs.open(path, "rb", block_size=BLOCK_BYTES) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not is_dicom(file.read(132)):
                return None
            file.seek(0)
            return pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=_TAGS)

    try:
        header = storage.retried(read)
        return [] if header is None or posixpath.basename(uri) == "DICOMDIR" else _described(header, uri)
    except Exception as error:  # pydicom raises whatever its parser meets in broken bytes; all of it means one thing
        raise MedclmError("the DICOM header is damaged", where=uri, got=type(error).__name__) from error


def _described(header: Any, uri: str) -> list[_Frame]:
    if not header.get("Rows") or not header.get("Columns") or header.get("Modality") in NOT_IMAGES:
        return []
    facts: dict[str, Any] = {
        name: str(header.get(name) or "").strip()
        for name in ("SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality")
    }
    facts["size"] = (int(header.Rows), int(header.Columns))
    count = int(header.get("NumberOfFrames") or 1)
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = header.get("PerFrameFunctionalGroupsSequence") or [None] * count
    return [
        _Frame(SliceFile(uri, k if count > 1 else None), plane_of([groups[k], shared, header]), facts)
        for k in range(count)
    ]


def _affine(folder: str, planes: list[Plane]) -> np.ndarray:
    """(4, 4) indices to LPS+ mm of sorted slices."""
    orientation = np.array([plane.orientation for plane in planes])
    if np.abs(orientation - orientation[0]).max() > 1e-3:
        raise _fault(folder, "the slices of a series are not parallel", "one orientation", "several")
    if len({plane.spacing_mm for plane in planes}) > 1:
        raise _fault(folder, "the slices of a series differ in their pixel spacing", "one spacing", "several")
    positions = np.array([plane.position_mm for plane in planes])
    steps = np.diff(positions @ planes[0].axes[2])
    if steps.min() < MM:
        same = float((positions @ planes[0].axes[2])[int(np.argmin(steps))])
        raise _fault(folder, "two slices of a series lie in one place", "one slice a position", f"{same:.2f} mm")
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    off_by = np.abs(np.diff(positions, axis=0) - step).max()
    if off_by > GAP_SHARE * np.linalg.norm(step) + MM:
        got = f"steps of {steps.min():.2f} to {steps.max():.2f} mm"
        raise _fault(folder, "the slices of a series are not equally far apart", "equal steps", got)
    affine = np.eye(4)
    affine[:3, 0] = planes[0].axes[0] * planes[0].spacing_mm.col
    affine[:3, 1] = planes[0].axes[1] * planes[0].spacing_mm.row
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    return affine


def _fault(folder: str, what: str, expected: str, got: object) -> MedclmError:
    remedy = "keep one series a folder, with all of its slices and each of them once"
    return MedclmError(what, where=folder, expected=expected, got=got, remedy=remedy)
