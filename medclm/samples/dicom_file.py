"""DICOM files as scanners write them: 12-bit radiographs of both photometric interpretations, and axial CT slices.

Everything in a file follows from the arguments, dates and identifiers included: the same call writes the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

STUDY_DATE = "20200101"
"""Every phantom was "taken" on this day."""


@dataclass(frozen=True)
class Identity:
    """Who and what a file is of. ``entropy`` is the text that its UIDs are made from."""

    patient_id: str
    study: int
    series: int
    instance: int

    def uid(self, level: Literal["study", "series", "instance"]) -> UID:
        """The DICOM UID at one level, the same for the same identity."""
        parts = [self.patient_id, f"study{self.study}"]
        if level != "study":
            parts.append(f"series{self.series}")
        if level == "instance":
            parts.append(f"instance{self.instance}")
        return generate_uid(entropy_srcs=["medclm", *parts])


@dataclass(frozen=True)
class Detector:
    """How a radiography system stores grey: photometric interpretation, rescale, and the values of black and white.

    ``black`` and ``white`` are modality values (after the rescale) of grey 0 and 1 before any MONOCHROME1 inversion.
    """

    photometric: Literal["MONOCHROME1", "MONOCHROME2"]
    slope: float
    intercept: float
    black: float
    white: float

    def modality_values(self, grey: np.ndarray) -> np.ndarray:
        """Modality values of a grey picture: falling with grey where the photometric interpretation is MONOCHROME1."""
        share = 1 - grey if self.photometric == "MONOCHROME1" else grey
        return self.black + share * (self.white - self.black)

    def window(self, low: float, high: float) -> tuple[float, float]:
        """VOI window (center, width) that shows grey ``low`` as black and ``high`` as white (PS3.3 C.11.2.1.2.1)."""
        ends = self.modality_values(np.array([low, high]))
        return float(np.round(ends.mean())), float(np.round(abs(ends[1] - ends[0])))


DETECTORS = (
    Detector("MONOCHROME2", 1.0, 0.0, 180.0, 3700.0),
    Detector("MONOCHROME1", 1.0, 0.0, 300.0, 3900.0),
    Detector("MONOCHROME2", 0.5, -100.0, 60.0, 1650.0),
    Detector("MONOCHROME1", 2.0, 100.0, 700.0, 7300.0),
)
"""The four systems that phantoms are taken on."""


def radiograph_bytes(
    grey: np.ndarray,
    identity: Identity,
    *,
    detector: Detector,
    spacing_mm: float,
    view: str,
    window: tuple[float, float],
) -> bytes:
    """A frontal chest radiograph (Digital X-Ray Image Storage, For Presentation; PS3.3 A.26) as file bytes.

    Args:
        grey: (H, W) float, 0 is black and 1 is white as a viewer shows it.
        identity: patient, study, series and instance.
        detector: how grey becomes stored values: 12 bits in 16, unsigned.
        spacing_mm: millimetres a pixel, the same for rows and columns, in the patient's plane.
        view: ViewPosition, "PA" or "AP".
        window: grey shown as black and as white.
    """
    stored = (detector.modality_values(grey) - detector.intercept) / detector.slope
    pixels = np.clip(np.rint(stored), 0, 4095).astype("<u2")
    ds = _new_file(identity, DigitalXRayImageStorageForPresentation, "DX")
    _set_pixels(ds, pixels, bits_stored=12, photometric=detector.photometric)
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = detector.slope, detector.intercept, "US"
    ds.WindowCenter, ds.WindowWidth = detector.window(*window)
    ds.PresentationLUTShape = "INVERSE" if detector.photometric == "MONOCHROME1" else "IDENTITY"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if detector.photometric == "MONOCHROME1" else -1
    ds.ViewPosition = view
    ds.BodyPartExamined = "CHEST"
    ds.PatientOrientation = ["L", "F"]
    ds.ImageLaterality = "U"
    ds.BurnedInAnnotation = "NO"
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.PixelSpacing = [round(spacing_mm, 5)] * 2
    ds.ImagerPixelSpacing = [round(spacing_mm * 1.05, 5)] * 2
    ds.PixelSpacingCalibrationType = "GEOMETRY"
    return _to_bytes(ds)


def ct_bytes(
    hounsfield: np.ndarray, identity: Identity, *, spacing_mm: float, position_mm: float, thickness_mm: float = 2.5
) -> bytes:
    """An axial CT slice (CT Image Storage; PS3.3 A.3) as file bytes.

    Args:
        hounsfield: (H, W) float in Hounsfield units, radiological display: the patient's left is on the right.
        identity: patient, study, series and instance.
        spacing_mm: millimetres a pixel, the same for rows and columns.
        position_mm: z of the slice in the patient coordinate system, towards the head.
        thickness_mm: slice thickness.
    """
    pixels = np.clip(np.rint(hounsfield) + 1024, 0, 4095).astype("<i2")
    edge = -spacing_mm * (hounsfield.shape[0] - 1) / 2
    ds = _new_file(identity, CTImageStorage, "CT")
    _set_pixels(ds, pixels, bits_stored=16, photometric="MONOCHROME2")
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1.0, -1024.0, "HU"
    ds.WindowCenter, ds.WindowWidth = [-400.0, 40.0], [1400.0, 400.0]
    ds.WindowCenterWidthExplanation = ["LUNG", "SOFT_TISSUE"]
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined, ds.PatientPosition, ds.KVP = "CHEST", "FFS", 120.0
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["medclm", identity.patient_id, "frame"])
    ds.PositionReferenceIndicator = ""
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [round(edge, 4), round(edge, 4), round(position_mm, 4)]
    ds.SliceLocation, ds.SliceThickness = round(position_mm, 4), thickness_mm
    ds.PixelSpacing = [round(spacing_mm, 5)] * 2
    return _to_bytes(ds)


def _new_file(identity: Identity, sop_class: str, modality: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = identity.uid("instance")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = generate_uid(entropy_srcs=["medclm", "samples"])
    meta.ImplementationVersionName = "MEDCLM_SAMPLES"
    ds = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), identity.uid("instance")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = identity.uid("study"), identity.uid("series")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = STUDY_DATE
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.PatientName = f"PHANTOM^{identity.patient_id}"
    ds.PatientID, ds.PatientBirthDate, ds.PatientSex = identity.patient_id, "", "O"
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = str(identity.study), identity.series, identity.instance
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = modality, "medclm", "phantom"
    return ds


def _set_pixels(ds: FileDataset, pixels: np.ndarray, bits_stored: int, photometric: str) -> None:
    """Pixels (H, W) of a 16-bit type; signed or not as the array is."""
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits_stored, bits_stored - 1
    ds.PixelRepresentation = 1 if pixels.dtype.kind == "i" else 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"


def _to_bytes(ds: FileDataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
