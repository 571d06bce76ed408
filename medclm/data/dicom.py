"""DICOM files to pictures: which header attributes are read, and how pixels become modality units.

Only the attributes listed here are taken from a header; no other header text leaves this module.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from medclm.data.display import Orientation, orientation_of_letters, plane_name
from medclm.data.picture import Lut, Picture, check_size, not_an_image, seek_frame
from medclm.data.raster import gray_if_equal
from medclm.data.records import Spacing, Window
from medclm.errors import MedclmError

_IDENTITY = ["PatientID", "StudyInstanceUID", "Modality", "ViewPosition", "BurnedInAnnotation"]
_GEOMETRY = ["ImageOrientationPatient", "PatientOrientation", "PixelSpacing", "ImagerPixelSpacing"]
_PIXELS = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
_PALETTE = [
    f"{segmented}{color}PaletteColorLookupTable{part}"
    for color in ("Red", "Green", "Blue")
    for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
]
_TAGS = _IDENTITY + _GEOMETRY + _PIXELS + _PALETTE
_FUNCTIONAL_GROUPS = {
    "PixelMeasuresSequence": ["PixelSpacing"],
    "PlaneOrientationSequence": ["ImageOrientationPatient"],
    "PatientOrientationInFrameSequence": ["PatientOrientation"],
    "PixelValueTransformationSequence": ["RescaleSlope", "RescaleIntercept"],
    "FrameVOILUTSequence": ["WindowCenter", "WindowWidth", "VOILUTFunction"],
}
_FRONTAL_VIEWS, _LATERAL_VIEWS = {"PA", "AP"}, {"LL", "RL", "LAT", "LATERAL"}


def is_dicom(data: bytes) -> bool:
    """Whether the bytes look like DICOM: the DICM mark, or a bare dataset that starts at group 0002 or 0008."""
    return data[128:132] == b"DICM" or (data[:2] in (b"\x02\x00", b"\x08\x00") and data[3:4] == b"\x00")


def read_dicom(data: bytes, where: str, frame: int | None, max_pixels: int) -> Picture:
    """Decode one frame of a DICOM file; arguments and errors as in :func:`medclm.data.images.read_picture`."""
    dataset = _parse(data, where)
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise MedclmError(
            "the DICOM file carries no pixels",
            where=where,
            expected="Pixel Data (7FE0,0010)",
            got="a header only, or a file that was cut off before its pixels",
            remedy="fetch the file again, or take reports and presentation states out of the image folder",
        )
    with _damaged_header(where):
        count = int(dataset.get("NumberOfFrames") or 1)
        height, width = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        _flatten_functional_groups(dataset, frame or 0)
    check_size(where, height, width, max_pixels)
    seek_frame(where, count, frame, lambda index: None)
    stored = _decode(dataset, where, frame or 0)
    with _damaged_header(where):
        return _picture(dataset, stored)


@contextmanager
def _damaged_header(where: str) -> Iterator[None]:
    """Turn what header values raise when they are not what the standard says into the error a user sees."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError) as error:
        raise MedclmError(
            "the DICOM header is damaged",
            where=where,
            expected="valid size, rescale, window, look-up table and spacing attributes",
            got=_first_line(error),
            remedy="repair or remove the file",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _parse(data: bytes, where: str) -> Any:
    """The listed attributes as a pydicom Dataset with its transfer syntax set."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=_TAGS)
            list(dataset)  # reads every element, so that a damaged one fails here
    except Exception as error:  # pydicom raises whatever its parser meets in broken bytes; all of it means one thing
        raise not_an_image(where, f"a broken DICOM file ({error})") from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        guess = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = guess
    return dataset


def _decode(dataset: Any, where: str, frame: int) -> np.ndarray:
    """Stored values of one frame: (H, W), or (H, W, 3) RGB."""
    from pydicom.pixels import pixel_array

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pixel_array(dataset, index=frame)
    except Exception as error:  # decoders are plugins over C libraries: any exception is "these pixels do not decode"
        syntax = dataset.file_meta.TransferSyntaxUID
        raise MedclmError(
            "the pixels of the DICOM file cannot be decoded",
            where=where,
            expected="whole pixel data in a transfer syntax with a decoder",
            got=f"{syntax.name} ({syntax}): {_first_line(error)}",
            remedy="fetch the file again if it is cut off; else convert it to Explicit VR Little Endian",
        ) from error


def _picture(dataset: Any, stored: np.ndarray) -> Picture:
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    notes: list[str] = []
    spacing = _spacing(dataset, notes)
    shared: dict[str, Any] = {
        "file_format": "dicom",
        "modality": _text(dataset, "Modality"),
        "view": _text(dataset, "ViewPosition").upper(),
        "plane": _plane(dataset),
        "patient_id": _text(dataset, "PatientID"),
        "study_id": _text(dataset, "StudyInstanceUID"),
        "spacing_mm": spacing,
        "orientation": _orientation(dataset),
        "burned_in": {"YES": True, "NO": False}.get(_text(dataset, "BurnedInAnnotation").upper()),
    }
    if photometric == "PALETTE COLOR" or stored.ndim == 3:
        return Picture(gray_if_equal(_rgb(dataset, stored, photometric)), notes=tuple(notes), **shared)
    window, function = _window(dataset, notes)
    values, rescaled = _modality_values(dataset, stored)
    padding = dataset.get("PixelPaddingValue")
    return Picture(
        values.astype(np.float32),
        bits=int(dataset.get("BitsStored") or 8 * stored.dtype.itemsize),
        window=window,
        window_function=function,
        voi_lut=_lut(dataset, "VOILUTSequence", signed=bool(values.min() < 0)),
        rescaled=rescaled or stored.dtype.kind != "u",
        inverted=photometric == "MONOCHROME1",
        padding=None if padding is None else float(_modality_values(dataset, np.array([padding]))[0][0]),
        notes=tuple(notes),
        **shared,
    )


def _text(dataset: Any, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip()


def _modality_values(dataset: Any, stored: np.ndarray) -> tuple[np.ndarray, bool]:
    """Modality LUT Sequence, else rescale, else the stored values (PS3.3 C.11.1); whether anything was applied."""
    lut = _lut(dataset, "ModalityLUTSequence", signed=bool(dataset.get("PixelRepresentation") == 1))
    if lut is not None:
        return lut(stored), True
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None or (float(slope), float(intercept)) == (1.0, 0.0):
        return stored.astype(np.float64), False
    return stored.astype(np.float64) * float(slope) + float(intercept), True


def _lut(dataset: Any, name: str, signed: bool) -> Lut | None:
    """First item of a LUT sequence. Entries are words, or bytes where the data is that short (PS3.3 C.11.1.1.1)."""
    if not dataset.get(name):
        return None
    item = dataset[name].value[0]
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count = (count & 0xFFFF) or 2**16
    if signed and first >= 2**15:
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        wide = len(data) >= 2 * count
        entries = np.frombuffer(data, dtype=("<u2" if little else ">u2") if wide else "u1")
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if not 1 <= count <= len(entries) or not 1 <= bits <= 16:
        raise ValueError(f"{name} declares {count} entries of {bits} bits and has {len(entries)}")
    return Lut(first, entries[:count], bits)


def _window(dataset: Any, notes: list[str]) -> tuple[Window | None, str]:
    """The first of the file's windows, and its VOI LUT Function; a window without a usable width is left out."""
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = _text(dataset, "VOILUTFunction").upper() or "LINEAR"
    if center is None or width is None:
        return None, "LINEAR"
    usable = np.isfinite([center, width]).all() and (width >= 1 or (width > 0 and function != "LINEAR"))
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or not usable:
        notes.append(f"the file's window ({center} / {width}, {function}) is not valid and was not used")
        return None, "LINEAR"
    return Window(center=center, width=width), function


def _first(value: Any) -> float | None:
    """First value of a single- or multi-valued number, or None."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return float(value[0]) if len(value) else None
    return float(value)


def _spacing(dataset: Any, notes: list[str]) -> Spacing | None:
    """Pixel Spacing, else Imager Pixel Spacing (at the detector, so objects look larger than they are)."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        value = dataset.get(name)
        if not value:
            continue
        row, col = (float(v) for v in value)
        if row > 0 and col > 0 and np.isfinite([row, col]).all():
            if name == "ImagerPixelSpacing":
                notes.append("spacing is Imager Pixel Spacing: millimetres at the detector, not in the patient")
            return Spacing(row=row, col=col)
        notes.append(f"{name} {row}\\{col} is not positive and was not used")
    return None


def _cosines(dataset: Any) -> Orientation | None:
    """Image Orientation (Patient) (C.7.6.2); None where it is absent or spans no plane."""
    cosines = tuple(float(v) for v in dataset.get("ImageOrientationPatient") or ())
    usable = len(cosines) == 6 and np.isfinite(cosines).all() and plane_name(cosines)  # type: ignore[arg-type]
    return cosines if usable else None  # type: ignore[return-value]


def _plane(dataset: Any) -> str:
    """Axial, coronal or sagittal by Image Orientation (Patient); frontal or lateral by View Position; else ""."""
    cosines = _cosines(dataset)
    if cosines is not None:
        return plane_name(cosines)
    view = _text(dataset, "ViewPosition").upper()
    return "frontal" if view in _FRONTAL_VIEWS else "lateral" if view in _LATERAL_VIEWS else ""


def _orientation(dataset: Any) -> Orientation | None:
    """Image Orientation (Patient), else Patient Orientation (C.7.6.1.1.1); None where neither is usable.

    Mammograms are left as stored: they hang by breast and view, not by the patient's axes.
    """
    letters = dataset.get("PatientOrientation")
    cosines = _cosines(dataset)
    if cosines is not None or not letters or _text(dataset, "Modality") == "MG":
        return cosines
    return orientation_of_letters([letters] if isinstance(letters, str) else letters)


def _rgb(dataset: Any, stored: np.ndarray, photometric: str) -> np.ndarray:
    """(H, W, 3) uint8. pydicom has already turned YBR into RGB; deeper samples lose their low bits."""
    from pydicom.pixels import apply_color_lut

    bits = int(dataset.get("BitsStored") or 8)
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)[..., :3]
        bits = 8 * stored.dtype.itemsize
    return (stored.astype(np.uint32) >> max(bits - 8, 0)).astype(np.uint8)


def _flatten_functional_groups(dataset: Any, frame: int) -> None:
    """Copy rescale, window, spacing and orientation of an enhanced multi-frame file (C.7.6.16) to the top level."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*shared[:1], *per_frame[frame : frame + 1]]:
        for sequence, names in _FUNCTIONAL_GROUPS.items():
            for item in (group.get(sequence) or [])[:1]:
                for name in names:
                    if name in item:
                        setattr(dataset, name, item[name].value)
