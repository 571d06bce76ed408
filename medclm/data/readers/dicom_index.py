"""A folder of DICOM images by SOP Instance UID, from their headers alone: what annotations refer to, and where it lies.

Only the attributes in :data:`TAGS` are read. Annotation objects that lie in the same folder (SEG, SR, RTSTRUCT,
presentation states) are no images and are passed over.
"""

from __future__ import annotations

import posixpath
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from medclm import storage
from medclm.data.dicom import is_dicom
from medclm.data.readers.base import Listing, Refused, stem
from medclm.data.readers.dicom_plane import MM, Plane, plane_of
from medclm.data.records import Spacing
from medclm.data.rejects import Reject

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID",
    "Modality", "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
NOT_IMAGES = {"SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "PR", "KO", "REG", "RWV", "ANN", "DOC"}
"""Modalities of objects that describe images."""
THREADS, BATCH, BLOCK_BYTES = 16, 4096, 2**16

FrameKey = tuple[str, int]
"""One picture: SOP Instance UID and 0-based frame (0 for a file with one picture)."""


@dataclass(frozen=True)
class DicomImage:
    """What the header of one image file says.

    Args:
        path: relative to the image folder. frames: their number. planes: one a frame, None where it has no geometry.
    """

    uid: str
    path: str
    frames: int
    size_hw: tuple[int, int]
    spacing_mm: Spacing | None
    planes: tuple[Plane | None, ...]
    frame_of_reference_uid: str
    series_uid: str
    study_uid: str
    patient_id: str
    modality: str


@dataclass(frozen=True)
class DicomIndex:
    """The images of a folder by SOP Instance UID, in the order of their paths; see :func:`index_images`."""

    folder: str
    images: dict[str, DicomImage]
    rejects: list[Reject] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def key(self, uid: str, frame_number: int | None = None) -> FrameKey:
        """The picture that an annotation refers to; ``frame_number`` is DICOM's, from 1 on.

        Raises:
            Refused: (no-image-entry) the folder has no such image or frame.
        """
        image = self.images.get(uid)
        if image is None:
            raise Refused("no-image-entry", f"image {uid} is not in the image folder")
        if frame_number is None and image.frames > 1:
            raise Refused("no-image-entry", f"which of the {image.frames} frames of image {uid} is meant is not said")
        if not 1 <= (frame_number or 1) <= image.frames:
            raise Refused("no-image-entry", f"image {uid} has no frame {frame_number}")
        return uid, (frame_number or 1) - 1

    def plane(self, key: FrameKey) -> Plane | None:
        """Where the picture lies."""
        return self.images[key[0]].planes[key[1]]

    def series(self, series_uid: str) -> list[FrameKey]:
        """The pictures of a series."""
        return self._by_series.get(series_uid, [])

    def volume(self, frame_of_reference_uid: str) -> list[FrameKey]:
        """The pictures with a plane in a frame of reference."""
        return self._by_reference.get(frame_of_reference_uid, [])

    def at(self, points_mm: np.ndarray, frame_of_reference_uid: str) -> FrameKey:
        """The picture in whose plane all points (N, 3) lie: the nearest one, within :meth:`tolerance_mm`.

        Raises:
            Refused: (no-image-entry) no picture has this frame of reference, or none lies there.
        """
        keys = self.volume(frame_of_reference_uid)
        if not keys:
            raise Refused("no-image-entry", f"no image has the frame of reference {frame_of_reference_uid}")
        origins, normals = self._stacked[frame_of_reference_uid]
        points = np.asarray(points_mm, dtype=np.float64)
        off_by = np.abs(points @ normals.T - (origins * normals).sum(axis=1)).max(axis=0)
        best = int(np.argmin(off_by))
        if off_by[best] > self.tolerance_mm(keys[best]):
            raise Refused("no-image-entry", f"no slice holds the contour; the nearest is {off_by[best]:.2f} mm away")
        return keys[best]

    def tolerance_mm(self, key: FrameKey) -> float:
        """How far from a picture's plane a contour may lie: half the way to the next parallel slice of its series.

        Half a pixel for a slice that stands alone.
        """
        plane = self.plane(key)
        assert plane is not None
        origins, normals = self._stacked_series[self.images[key[0]].series_uid]
        parallel = np.abs(normals @ plane.axes[2]) > 1 - 1e-4
        gaps = np.abs((origins[parallel] - np.array(plane.position_mm)) @ plane.axes[2])
        gaps = gaps[gaps > MM]
        return float(gaps.min() if len(gaps) else max(plane.spacing_mm.row, plane.spacing_mm.col)) / 2 + MM

    @cached_property
    def image_ids(self) -> dict[FrameKey, str]:
        """An id a picture: the file's stem where it is unique, else the UID; ``-0000`` and so on for its frames."""
        stems = Counter(stem(image.path) for image in self.images.values())
        ids: dict[FrameKey, str] = {}
        for uid, image in self.images.items():
            base = stem(image.path) if stems[stem(image.path)] == 1 else uid
            for frame in range(image.frames):
                ids[uid, frame] = f"{base}-{frame:04d}" if image.frames > 1 else base
        times = Counter(ids.values())
        return {key: name if times[name] == 1 else f"{key[0]}-{key[1]:04d}" for key, name in ids.items()}

    @cached_property
    def volume_folders(self) -> dict[str, str]:
        """Series UID to the folder of its slices, for every series that lies alone in one folder and has planes."""
        series_in: dict[str, set[str]] = {}
        folders: dict[str, set[str]] = {}
        for image in self.images.values():
            folder = posixpath.dirname(image.path)
            series_in.setdefault(folder, set()).add(image.series_uid)
            folders.setdefault(image.series_uid, set()).add(folder)
        return {
            series: storage.join(self.folder, *found)
            for series, found in folders.items()
            if len(found) == 1 and len(series_in[min(found)]) == 1 and series in self._stacked_series
        }

    @cached_property
    def _keys(self) -> list[FrameKey]:
        return [(uid, frame) for uid, image in self.images.items() for frame in range(image.frames)]

    @cached_property
    def _by_series(self) -> dict[str, list[FrameKey]]:
        return _grouped((self.images[key[0]].series_uid, key) for key in self._keys)

    @cached_property
    def _by_reference(self) -> dict[str, list[FrameKey]]:
        placed = (key for key in self._keys if self.plane(key) is not None)
        return _grouped((self.images[key[0]].frame_of_reference_uid, key) for key in placed)

    @cached_property
    def _stacked(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {uid: self._stack(keys) for uid, keys in self._by_reference.items()}

    @cached_property
    def _stacked_series(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        placed = {uid: [k for k in keys if self.plane(k) is not None] for uid, keys in self._by_series.items()}
        return {uid: self._stack(keys) for uid, keys in placed.items() if keys}

    def _stack(self, keys: list[FrameKey]) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) positions and (N, 3) normals."""
        planes = [plane for key in keys if (plane := self.plane(key)) is not None]
        return np.array([p.position_mm for p in planes]), np.stack([p.axes[2] for p in planes])


def _grouped(pairs: Any) -> dict[str, list[FrameKey]]:
    groups: dict[str, list[FrameKey]] = {}
    for name, key in pairs:
        groups.setdefault(name, []).append(key)
    return groups


def index_images(folder: str, threads: int = THREADS) -> DicomIndex:
    """Read the headers of every DICOM image under a folder.

    Args:
        folder: any fsspec address; images lie at any depth.
        threads: files that are read at a time.

    Returns:
        The index. A broken file, or a second one with the same UID, is a reject of it; other files are counted in its
        notes.

    Raises:
        UsageError: there is no such folder.
    """
    listing = Listing(folder)
    images: dict[str, DicomImage] = {}
    rejects: list[Reject] = []
    others = 0
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(listing.files), BATCH):
            paths = listing.files[start : start + BATCH]
            for path, found in zip(paths, pool.map(lambda p: _header(listing.uri(p), p), paths), strict=True):
                if isinstance(found, DicomImage) and found.uid in images:
                    found = Refused("duplicate-image", f"image {found.uid} is in another file too; that one is used")
                if isinstance(found, Refused):
                    rejects.append(Reject(image_id=stem(path), where=path, reason=found.reason, detail=found.detail))
                elif found is None:
                    others += 1
                else:
                    images[found.uid] = found
    notes = (f"{others} files of the image folder are no DICOM images and were left out",) if others else ()
    return DicomIndex(folder, images, rejects, notes)


def _header(uri: str, path: str) -> DicomImage | Refused | None:
    """What a file is: an image, a broken one, or (None) something else."""
    import pydicom

    fs, name = storage.open_fs(uri)

    def read() -> Any:
        with fs.open(name, "rb", block_size=BLOCK_BYTES) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mark = file.read(132)
            if not is_dicom(mark):
                return None
            file.seek(0)
            return pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=TAGS)

    try:
        dataset = storage.retried(read)
        if dataset is None:
            wanted = posixpath.splitext(path)[1].lower() in (".dcm", ".dicom", ".ima")
            return Refused("unreadable-image", "the file is not DICOM") if wanted else None
        return _described(dataset, path)
    except Refused as refused:
        return refused
    except Exception as error:  # pydicom raises whatever its parser meets in broken bytes; all of it means one thing
        return Refused("unreadable-image", f"the DICOM header is damaged ({type(error).__name__})")


def _described(dataset: Any, path: str) -> DicomImage | None:
    modality = str(dataset.get("Modality") or "").strip()
    is_directory = dataset.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10"
    if modality in NOT_IMAGES or is_directory:
        return None
    uid, rows, columns = (dataset.get(name) for name in ("SOPInstanceUID", "Rows", "Columns"))
    if not uid or not rows or not columns:
        raise Refused("unreadable-image", "the header has no SOP Instance UID, Rows or Columns, or is cut off")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames < 1:
        raise Refused("unreadable-image", f"Number of Frames is {frames}")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or [None] * frames
    if len(per_frame) != frames:
        raise Refused("unreadable-image", f"{frames} frames are declared, {len(per_frame)} are described")
    planes = tuple(plane_of([group, shared, dataset]) for group in per_frame)
    plane = next((p for p in planes if p is not None), None)
    return DicomImage(
        uid=str(uid),
        path=path,
        frames=frames,
        size_hw=(int(rows), int(columns)),
        spacing_mm=plane.spacing_mm if plane else _spacing(dataset),
        planes=planes,
        frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID") or ""),
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        study_uid=str(dataset.get("StudyInstanceUID") or ""),
        patient_id=str(dataset.get("PatientID") or "").strip(),
        modality=modality,
    )


def _spacing(dataset: Any) -> Spacing | None:
    """Pixel Spacing, else Imager Pixel Spacing; as :mod:`medclm.data.dicom` takes it."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = [float(v) for v in dataset.get(name) or ()]
        if len(values) == 2 and all(np.isfinite(values)) and min(values) > 0:
            return Spacing(row=values[0], col=values[1])
    return None
