"""A volume of organ labels in patient space, and the masks that it gives on any slice.

Positions are RAS+ millimetres as NIfTI has them (to the right, to the front, to the head); DICOM's are LPS+.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medclm.data.grid import Grid
from medclm.data.label_files import LabelFile, read_labels
from medclm.data.records import Source
from medclm.data.segmenters.labels import labels, organs_of
from medclm.data.volume_files import SUFFIXES, read_grid
from medclm.errors import MedclmError

TOTALSEGMENTATOR = "totalsegmentator_ct"
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class LabelVolume:
    """Organ labels of voxels.

    Attributes:
        values: (I, J, K) whole numbers.
        affine: (4, 4) voxel indices (centres) to RAS+ millimetres.
        organs: vocabulary name by label value; other values are background.
    """

    values: np.ndarray
    affine: np.ndarray
    organs: dict[int, str]

    def masks_at(self, points_mm: np.ndarray) -> dict[str, np.ndarray]:
        """Organs at positions, each by its nearest voxel; outside the volume there is none.

        Args:
            points_mm: (H, W, 3) RAS+.

        Returns:
            Vocabulary name to (H, W) bool; empty organs are left out, two labels of one organ united.
        """
        index = points_mm @ np.linalg.inv(self.affine)[:3, :3].T + np.linalg.inv(self.affine)[:3, 3]
        voxel = np.floor(index + 0.5 + 1e-4).astype(np.int64)
        inside = ((voxel >= 0) & (voxel < self.values.shape)).all(axis=-1)
        found = np.zeros(points_mm.shape[:2], self.values.dtype)
        found[inside] = self.values[tuple(voxel[inside].T)]
        masks: dict[str, np.ndarray] = {}
        for value in np.unique(found):
            if organ := self.organs.get(int(value)):
                mask = found == value
                masks[organ] = masks[organ] | mask if organ in masks else mask
        return masks


def load_labels(address: str, names: str = "") -> list[LabelVolume]:
    """The label volumes of a file: one, or one a layer where segments overlap (3D Slicer).

    Args:
        address: a NIfTI, NRRD or MetaImage file; any fsspec address.
        names: what the values mean: a list of :mod:`medclm.data.segmenters.labels` ("totalsegmentator_ct"). Without it,
            the names in the file itself (:func:`medclm.data.label_files.read_labels`).

    Raises:
        MedclmError: the file cannot be read or does not say how it lies, no names are known, or one names no organ of
            the vocabulary.
    """
    return [_volume(found, address, names) for found in read_labels(address)]


def _volume(found: LabelFile, address: str, names: str) -> LabelVolume:
    if found.grid.affine is None:
        raise MedclmError("the label volume does not say how it lies in the patient", where=address)
    known = labels(names) if names else found.names
    present = {int(value) for value in np.unique(found.values)}
    if not known:
        raise MedclmError(
            "the label volume does not say what its values mean",
            where=address,
            expected="a label table in the file",
            got=f"values {sorted(present)[:10]}",
            remedy=f"name a list of labels: masks:{address}#{TOTALSEGMENTATOR}",
        )
    organs = organs_of({value: word for value, word in known.items() if value in present}, address)
    return LabelVolume(found.values.transpose(2, 1, 0), np.diag([*LPS_TO_RAS, 1.0]) @ found.grid.affine, organs)


def points_of(source: Source, size_hw: tuple[int, int]) -> np.ndarray:
    """Where the pixel centres of a stored picture lie: (H, W, 3) RAS+ millimetres.

    Args:
        source: a DICOM file with a plane in the patient (PS3.3 C.7.6.2), or a slice of a NIfTI, NRRD or MetaImage file:
            ``frame`` counts along the third axis, columns run along the first and rows along the second.
        size_hw: height and width of the *stored* picture.

    Raises:
        MedclmError: the file says nothing of where it lies.
    """
    x, y = np.meshgrid(np.arange(size_hw[1]), np.arange(size_hw[0]))
    if source.uri.lower().endswith(SUFFIXES):
        grid = _grid(source.uri)
        if grid.affine is None:
            raise MedclmError("the volume does not say how it lies in the patient", where=source.uri)
        index = np.stack([x, y, np.full_like(x, source.frame or 0)], axis=-1)
        return (grid.to_patient(index.reshape(-1, 3)) * LPS_TO_RAS).reshape(*size_hw, 3)
    from medclm.data.segmenters.series import plane_of_file

    plane = plane_of_file(source.uri, source.frame)
    points = plane.to_patient(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1))
    return (points * LPS_TO_RAS).reshape(*size_hw, 3)


@lru_cache(maxsize=64)
def _grid(address: str) -> Grid:
    return read_grid(address)
