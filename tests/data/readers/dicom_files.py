"""A tiny CT series and annotation objects over it, written with pydicom and highdicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROWS, COLS = 8, 10
ROW_MM, COL_MM, GAP_MM = 2.0, 0.5, 5.0
ORIGIN = (-10.0, 20.0, 100.0)
"""Centre of the first pixel of slice 0. In row r, column c of slice k: -10 + c/2, 20 + 2 r, 100 + 5 k."""
FRAME_OF_REFERENCE, STUDY, SERIES = "1.2.3.9", "1.2.3.1", "1.2.3.2"
SECRETS = ("Doe^Jane", "19700102", "20240305", "Referring^Doctor", "ward seven")


def uid_of(k: int) -> str:
    return f"1.2.3.100.{k}"


def base(sop_class: str, uid: str, modality: str, series: str) -> Dataset:
    """A dataset with patient, study and series, and with texts that must not leave it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = sop_class, uid
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class, uid, modality
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "P-1", STUDY, series
    ds.PatientName, ds.PatientBirthDate, ds.StudyDate, ds.ReferringPhysicianName = SECRETS[:4]
    ds.StudyDescription = ds.SeriesDescription = SECRETS[4]
    ds.PatientSex, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "F", "101112", "1", "A1"
    ds.SeriesNumber, ds.InstanceNumber, ds.Manufacturer = 1, 1, "none"
    return ds


def ct_slice(k: int, series: str = SERIES) -> Dataset:
    """Slice ``k`` of the series."""
    ds = base(CTImageStorage, uid_of(k), "CT", series)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = FRAME_OF_REFERENCE, ""
    ds.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + GAP_MM * k]
    ds.ImageOrientationPatient, ds.PixelSpacing, ds.SliceThickness = [1, 0, 0, 0, 1, 0], [ROW_MM, COL_MM], GAP_MM
    ds.InstanceNumber, ds.ImageType = k + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = ROWS, COLS, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = np.full((ROWS, COLS), k, np.uint16).tobytes()
    return ds


def save(ds: Dataset, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return str(path)


def write_series(folder: Path, count: int = 3) -> list[Dataset]:
    """Slices ``ct0.dcm`` and so on, some levels down."""
    slices = [ct_slice(k) for k in range(count)]
    for k, ds in enumerate(slices):
        save(ds, folder / "study" / "series" / f"ct{k}.dcm")
    return slices


def item(**attributes: object) -> Dataset:
    """A sequence item; lists of datasets become sequences."""
    ds = Dataset()
    for name, value in attributes.items():
        is_items = (
            isinstance(value, list) and (not value or isinstance(value[0], Dataset)) and name.endswith("Sequence")
        )
        setattr(ds, name, Sequence(value) if is_items else value)
    return ds


def reference(uid: str, frame: int | None = None) -> Dataset:
    more = {} if frame is None else {"ReferencedFrameNumber": frame}
    return item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid, **more)


def rows_of(text: str) -> np.ndarray:
    """A mask drawn with ``#`` and ``.``, one word a row; the rest of the picture is empty."""
    mask = np.zeros((ROWS, COLS), bool)
    for r, line in enumerate(text.split()):
        mask[r, : len(line)] = [c == "#" for c in line]
    return mask


def assert_private(result) -> None:
    """Nothing that identifies the patient, except the raw ids, leaves a reader."""
    told = "".join(r.model_dump_json() for r in (*result.records, *result.rejects)) + "".join(result.notes)
    for secret in SECRETS:
        assert secret not in told
