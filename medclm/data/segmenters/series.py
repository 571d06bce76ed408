"""A volume as 3-D segmenters take it: a NIfTI image, from a NIfTI or NRRD file or from the folder of a DICOM series."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np

from medclm import storage
from medclm.data.images import read_picture
from medclm.data.readers.dicom_plane import MM, Plane, plane_of
from medclm.data.segmenters.label_volume import LPS_TO_RAS, SUFFIXES, volume_affine
from medclm.errors import MedclmError


def load_volume(address: str) -> Any:
    """The volume at ``Source.volume`` as a ``nibabel.Nifti1Image`` of modality units.

    Raises:
        MedclmError: a slice cannot be read, or the slices of a series are not parallel, or not equally far apart (one
            is missing).
    """
    import nibabel

    if address.endswith(".nrrd"):
        import nrrd

        return nibabel.Nifti1Image(nrrd.read(address)[0].astype(np.float32), volume_affine(address))
    if address.endswith(SUFFIXES):
        return nibabel.load(address)
    return nibabel.Nifti1Image(*stack_series(address))


def stack_series(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """The slices of a DICOM series that lies alone in a folder as one volume; other files of it are passed over.

    Returns:
        (columns, rows, slices) float32 in modality units, and the (4, 4) affine of indices to RAS+ millimetres.

    Raises:
        MedclmError: see :func:`load_volume`.
    """
    found = [entry for path in storage.list_files(folder, "**/*") for entry in _slices(path)]
    if len(found) < 2:
        raise MedclmError("there is no volume", where=folder, expected="two slices or more", got=len(found))
    normal = found[0][0].axes[2]
    found.sort(key=lambda entry: float(np.array(entry[0].position_mm) @ normal))
    first = found[0][0]
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing_mm.col
    affine[:3, 1] = first.axes[1] * first.spacing_mm.row
    affine[:3, 2] = _step(folder, [plane for plane, _ in found])
    affine[:3, 3] = first.position_mm
    affine[:3] *= LPS_TO_RAS[:, None]
    return np.stack([values for _, values in found], axis=-1).transpose(1, 0, 2), affine


def _slices(address: str) -> list[tuple[Plane, np.ndarray]]:
    """(plane, (H, W) values) of each frame of a DICOM image with a place in the patient; none of other files."""
    data = storage.read_bytes(address)
    dataset = _parsed(data)
    if dataset is None or "Rows" not in dataset:
        return []
    frames = [None] if int(dataset.get("NumberOfFrames") or 1) == 1 else list(range(int(dataset.NumberOfFrames)))
    planes = [_plane(dataset, frame) for frame in frames]
    return [
        (plane, read_picture(data, address, frame).values.astype(np.float32))
        for frame, plane in zip(frames, planes, strict=True)
        if plane is not None
    ]


def _step(where: str, planes: list[Plane]) -> np.ndarray:
    """(3,) mm from one slice to the next, LPS+."""
    positions = np.array([plane.position_mm for plane in planes])
    steps = np.diff(positions, axis=0)
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    orientation = np.array([plane.orientation for plane in planes])
    if np.abs(orientation - orientation[0]).max() > 1e-4 or np.abs(steps - step).max() > 0.1 + MM:
        raise MedclmError(
            "the slices of a series make no volume",
            where=where,
            expected="parallel slices at equal distances",
            got=f"steps of {np.linalg.norm(steps, axis=1).min():.2f} to {np.linalg.norm(steps, axis=1).max():.2f} mm",
            remedy="keep one series a folder, with all of its slices",
        )
    return step


@lru_cache(maxsize=4096)
def plane_of_file(address: str, frame: int | None = None) -> Plane:
    """Where a DICOM picture lies in the patient, from its header.

    Raises:
        MedclmError: the file is no DICOM file, or says nothing of where it lies.
    """
    dataset = _parsed(storage.read_bytes(address))
    plane = _plane(dataset, frame) if dataset is not None else None
    if plane is None:
        raise MedclmError(
            "the picture does not say where it lies in the patient", where=address, expected="DICOM, NIfTI or NRRD"
        )
    return plane


def _plane(dataset: Any, frame: int | None) -> Plane | None:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    own = (dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame or 0 :][:1]
    return plane_of([*own, shared, dataset])


def _parsed(data: bytes) -> Any:
    """The header of a DICOM file, or None for another file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    except InvalidDicomError:
        return None
