"""A volume of organ labels in patient space, and the masks that it gives on any slice.

Positions are RAS+ millimetres as NIfTI has them (to the right, to the front, to the head); DICOM's are LPS+.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from medclm.data.records import Source
from medclm.data.segmenters.labels import labels, organs_of
from medclm.errors import MedclmError

TOTALSEGMENTATOR = "totalsegmentator_ct"
SUFFIXES = (".nii", ".nii.gz", ".nrrd")
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


def load_labels(path: str, names: str = "") -> LabelVolume:
    """A NIfTI or NRRD label volume from a local file.

    Args:
        path: ``.nii``, ``.nii.gz`` or ``.nrrd``.
        names: what the values mean: a list of :mod:`medclm.data.segmenters.labels` ("totalsegmentator_ct"). Without it,
            the names in the file itself: TotalSegmentator's label table in a NIfTI extension, or 3D Slicer's
            ``Segment0_Name`` and ``Segment0_LabelValue`` in an NRRD.

    Raises:
        MedclmError: the file cannot be read, no names are known, or one names no organ of the vocabulary.
    """
    try:
        values, affine, own = _nrrd(path) if path.endswith(".nrrd") else _nifti(path)
    except (OSError, ValueError, KeyError) as error:
        raise MedclmError(
            "a label volume cannot be read", where=path, expected=", ".join(SUFFIXES), got=str(error)
        ) from error
    known = labels(names) if names else own
    if not known:
        raise MedclmError(
            "the label volume does not say what its values mean",
            where=path,
            expected="a label table in the file",
            got=f"values {sorted(int(v) for v in np.unique(values))[:10]}",
            remedy=f"name a list of labels: masks:{path}#{TOTALSEGMENTATOR}",
        )
    present = {int(value) for value in np.unique(values)}
    return LabelVolume(values, affine, organs_of({v: word for v, word in known.items() if v in present}, path))


def _nifti(path: str) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    import nibabel

    image: Any = nibabel.load(path)
    values = np.asarray(image.dataobj)
    return _whole(values), image.affine, _nifti_names(image)


def _nifti_names(image: Any) -> dict[int, str]:
    """The label table that TotalSegmentator writes: a header extension with ``<Label Key="1">spleen</Label>``."""
    from xml.etree import ElementTree

    for extension in image.header.extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "ignore") if isinstance(content, bytes) else str(content)
        if "<Label " not in text:
            continue
        table = ElementTree.fromstring(text.strip().rstrip("\0"))
        return {int(entry.get("Key", 0)): (entry.text or "").strip() for entry in table.iter("Label")}
    return {}


def _nrrd(path: str) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    import nrrd

    values, header = nrrd.read(path)
    names = {}
    for key, name in header.items():
        if key.startswith("Segment") and key.endswith("_Name"):
            names[int(header[key.replace("_Name", "_LabelValue")])] = name
    return _whole(values), _nrrd_affine(header), names


def _nrrd_affine(header: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(header["space directions"], dtype=np.float64).T
    affine[:3, 3] = header["space origin"]
    spaces = {"left-posterior-superior": LPS_TO_RAS, "right-anterior-superior": np.ones(3)}
    affine[:3] *= spaces[header["space"]][:, None]
    return affine


def _whole(values: np.ndarray) -> np.ndarray:
    """Labels as whole numbers; some tools write them as floats."""
    whole = np.rint(values).astype(np.int32)
    if values.ndim != 3 or not np.array_equal(whole, values):
        raise ValueError(f"{values.ndim} axes of {values.dtype}: not a volume of whole numbers")
    return whole


def points_of(source: Source, size_hw: tuple[int, int]) -> np.ndarray:
    """Where the pixel centres of a stored picture lie: (H, W, 3) RAS+ millimetres.

    Args:
        source: a DICOM file with a plane in the patient (PS3.3 C.7.6.2), or a slice of a NIfTI or NRRD volume:
            ``frame`` counts along the third axis, columns run along the first and rows along the second.
        size_hw: height and width of the *stored* picture.

    Raises:
        MedclmError: the file says nothing of where it lies.
    """
    x, y = np.meshgrid(np.arange(size_hw[1]), np.arange(size_hw[0]))
    if source.uri.endswith(SUFFIXES):
        affine = volume_affine(source.uri)
        index = np.stack([x, y, np.full_like(x, source.frame or 0)], axis=-1)
        return index @ affine[:3, :3].T + affine[:3, 3]
    from medclm.data.segmenters.series import plane_of_file

    plane = plane_of_file(source.uri, source.frame)
    points = plane.to_patient(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1))
    return (points * LPS_TO_RAS).reshape(*size_hw, 3)


@lru_cache(maxsize=64)
def volume_affine(path: str) -> np.ndarray:
    """(4, 4) voxel indices to RAS+ millimetres of a NIfTI or NRRD file, from its header."""
    if path.endswith(".nrrd"):
        import nrrd

        return _nrrd_affine(nrrd.read_header(path))
    import nibabel

    return nibabel.load(path).affine  # type: ignore[attr-defined]
