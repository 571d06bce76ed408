"""A volume as 3-D segmenters take it: a NIfTI image, from a NIfTI or NRRD file or from the folder of a DICOM series."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np

from medclm import storage
from medclm.data import volume_cache, volume_series
from medclm.data.readers.dicom_plane import Plane, plane_of
from medclm.errors import MedclmError

LPS_TO_RAS_4 = np.diag([-1.0, -1.0, 1.0, 1.0])


def load_volume(address: str) -> Any:
    """The volume at ``Source.volume`` as a ``nibabel.Nifti1Image`` of modality units, RAS+.

    Raises:
        MedclmError: it is no volume, a slice is missing, or the file does not say how it lies in the patient.
    """
    import nibabel

    is_folder = storage.open_fs(address)[0].isdir(storage.open_fs(address)[1])
    volume = volume_series.read_series(address) if is_folder else volume_cache.load_volume(address)[0]
    if volume.grid.affine is None:
        raise MedclmError("the volume does not say how it lies in the patient", where=address)
    return nibabel.Nifti1Image(volume.values.transpose(2, 1, 0), LPS_TO_RAS_4 @ volume.grid.affine)


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
