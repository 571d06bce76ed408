"""An answer as a DICOM structured report of template TID 1500, on the DICOM image that was uploaded.

Each step of the reasoning that has a box becomes a planar ROI group (TID 1410): the finding it is about, the organ as
finding site, and the box as an image region (SCOORD POLYLINE; PS3.3 C.18.6: origin at the outer corner of the first
pixel, as our boxes). Where no step has a box, one group without a region holds what the answer says.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from medclm import __version__
from medclm.data import anatomy
from medclm.data.records import BoxXyxy, Step
from medclm.serve.guards import ApiError
from medclm.serve.predictor import Prediction

MAKER = "medclm"
LOCAL = "99MEDCLM"
"""Coding scheme of names that have no code elsewhere."""


def dicom_sr(data: bytes, prediction: Prediction, question: str, model: str, frame: int | None = None) -> bytes:
    """The report as a DICOM file (Comprehensive SR).

    Args:
        data: the DICOM image that was asked about. Patient and study attributes are taken over from it.
        prediction: boxes in pixels of the stored image.
        question: what was asked.
        model: name and version, for the device observer.
        frame: which frame of a multi-frame image, from 0.

    Raises:
        ApiError: 400, the file is no DICOM image with the UIDs that a report needs.
    """
    from highdicom import sr
    from pydicom import dcmread, uid

    image = _image(dcmread(io.BytesIO(data), force=False, stop_before_pixels=True))
    groups = [_group(image, n, *found, frame) for n, found in enumerate(_found(prediction), 1)]
    observer = sr.ObserverContext(
        observer_type=_code("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=uid.generate_uid(entropy_srcs=[model]), name=model[:64], manufacturer_name=MAKER
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_code("25045-6", "LN", "CT unspecified body region")
        if image.get("Modality") == "CT"
        else _code("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups,
        title=_code("126000", "DCM", "Imaging Measurement Report"),
    )
    document = sr.ComprehensiveSR(
        evidence=[image],
        content=report[0],
        series_number=1,
        series_instance_uid=uid.generate_uid(),
        sop_instance_uid=uid.generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=model[:64],
        software_versions=__version__,
        is_complete=False,
        is_verified=False,
        series_description="medclm: research software, not a medical device",
    )
    document.ContentLabel = "MEDCLM"
    document.SeriesDescription = "medclm: research only"
    out = io.BytesIO()
    document.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _image(image: Any) -> Any:
    """The image with every attribute that a report copies, empty where the file has none (they are type 2)."""
    missing = [n for n in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID") if n not in image]
    if missing or "Rows" not in image:
        what = ", ".join(missing) or "pixels"
        raise ApiError(400, f"a report needs a DICOM image with {what}", code="invalid_image", param="file")
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        if name not in image:
            setattr(image, name, "")
    for name in ("StudyDate", "StudyTime", "ReferringPhysicianName"):
        if name not in image:
            setattr(image, name, "")
    return image


def _found(prediction: Prediction) -> list[tuple[str, str | None, BoxXyxy | None]]:
    """(finding in words, organ of the vocabulary or None, box or None) of each group, equal ones once."""
    every = " ".join([step.text for step in prediction.steps] + [prediction.answer])
    finding, organ = _finding(every), _organ(every)
    found = [
        (_finding(step.text) or finding or prediction.answer, _organ(step.text) or organ, step.box_xyxy)
        for step in prediction.steps
        if step.box_xyxy is not None and not _is_organ_box(step)
    ]
    return list(dict.fromkeys(found)) or [(finding or prediction.answer or "no answer", organ, None)]


def _is_organ_box(step: Step) -> bool:
    """Whether the box shows an organ, not a finding."""
    return step.step in ("organ", "view") and _finding(step.text) is None


def _finding(text: str) -> str | None:
    named = anatomy.findings_named(text)
    return min(named, key=lambda name: text.lower().find(name.replace("_", " "))) if named else None


def _organ(text: str) -> str | None:
    """The organ with the longest name that ``text`` has."""
    words = f" {anatomy.normal_name(text.replace('.', ' ').replace(',', ' '))} "
    found = [name for name, term in anatomy.organs().items() if f" {term.text.lower()} " in words]
    return max(found, key=len, default=None)


def _group(
    image: Any, number: int, finding: str, organ: str | None, box_xyxy: BoxXyxy | None, frame: int | None
) -> Any:
    from highdicom import sr

    common: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(identifier=f"medclm {number}"),
        "finding_type": finding_code(finding),
        "finding_sites": [sr.FindingSite(*organ_code(organ))] if organ else None,
        "algorithm_id": sr.AlgorithmIdentification(name=MAKER, version=__version__),
    }
    frames = [frame + 1] if frame is not None and int(image.get("NumberOfFrames", 1)) > 1 else None
    source = {"referenced_frame_numbers": frames} if frames else {}
    if box_xyxy is None:
        reference = sr.SourceImageForMeasurementGroup.from_source_image(image, **source)
        return sr.MeasurementsAndQualitativeEvaluations(**common, source_images=[reference])
    x1, y1, x2, y2 = box_xyxy
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]], dtype=np.float32)
    region = sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=corners,
        source_image=sr.SourceImageForRegion.from_source_image(image, **source),
    )
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(**common, referenced_region=region)


def finding_code(finding: str) -> Any:
    """A coded concept for a finding; its name in the local scheme, as the vocabulary keeps no codes of findings."""
    text = anatomy.finding_text(finding) if finding in anatomy.findings() else finding
    return _code(_short(text), LOCAL, text[:64])


def organ_code(organ: str) -> tuple[Any, Any]:
    """(anatomic location, laterality or None): SNOMED CT, else RadLex, else the local name. A code that stands for
    both sides, because the organ itself has none, is the parent's with the laterality."""
    term = anatomy.organs()[organ]
    side = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}.get(term.side or "")
    laterality = _code(side[0], "SCT", side[1]) if side else None
    if term.snomed:
        return _code(term.snomed, "SCT", term.text[:64]), laterality
    if term.radlex:
        return _code(term.radlex, "RADLEX", term.text[:64]), laterality
    return _code(_short(organ), LOCAL, term.text[:64]), laterality


def _short(text: str) -> str:
    """A code value: at most 16 characters (VR SH)."""
    import hashlib

    plain = "".join(c for c in text.lower() if c.isalnum() and c.isascii())
    return plain if 0 < len(plain) <= 16 else hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(value: str, scheme: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning or value)
