"""One decoded image: pixels in modality units, what is needed to show them, and the errors that all decoders share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from medclm.data.display import Display, Orientation, display_of
from medclm.data.records import Spacing, Window
from medclm.errors import MedclmError

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded (pixels of one frame), against decompression bombs."""


@dataclass(frozen=True)
class Lut:
    """A DICOM look-up table (PS3.3 C.11.1.1, C.11.2.1.1).

    Args:
        first: input value that maps to the first entry; lower inputs map to it too, higher ones to the last entry.
        entries: (N,) output values, unsigned.
        bits: bits of an output value; outputs span 0 to 2**bits - 1.
    """

    first: int
    entries: np.ndarray
    bits: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The entries for ``values``, float64, same shape. Inputs are rounded to whole numbers first."""
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)].astype(np.float64)


@dataclass(frozen=True)
class Picture:
    """One decoded image.

    Args:
        values: (H, W) float32 in modality units (Hounsfield units for CT), not yet inverted; or (H, W, 3) uint8 RGB.
        file_format: "dicom", "nifti", "nrrd", "metaimage", "png", "jpeg" or another format that Pillow reads.
        bits: bits stored per sample.
        modality, view, plane, patient_id, study_id: as the header says; "" where it does not.
        spacing_mm: distance of neighbouring rows and columns, or None.
        window: the file's own window, or None. ``window_function`` is its VOI LUT Function.
        voi_lut: the file's VOI LUT; it goes before ``window``.
        inverted: MONOCHROME1, low values are bright.
        padding: value of pixels that are no picture (Pixel Padding Value), in modality units, or None.
        orientation: direction cosines of a row and of a column on DICOM's patient axes, or None.
        burned_in: Burned In Annotation; None where the header does not say.
        notes: what a reader of the picture should know, e.g. which attribute the spacing came from.
    """

    values: np.ndarray = field(repr=False)
    file_format: str
    bits: int = 8
    modality: str = ""
    view: str = ""
    plane: str = ""
    patient_id: str = ""
    study_id: str = ""
    spacing_mm: Spacing | None = None
    window: Window | None = None
    window_function: str = "LINEAR"
    voi_lut: Lut | None = None
    rescaled: bool = False
    inverted: bool = False
    padding: float | None = None
    orientation: Orientation | None = None
    burned_in: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_color(self) -> bool:
        """Whether ``values`` are RGB."""
        return self.values.ndim == 3

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def display(self) -> Display | None:
        """How ``values`` are turned for radiological display; None where the file does not say how they lie."""
        return None if self.orientation is None else display_of(self.orientation)


def check_size(where: str, height: int, width: int, max_pixels: int) -> None:
    """Refuse a picture without pixels or with more than ``max_pixels``."""
    if height < 1 or width < 1:
        raise not_an_image(where, f"a picture of {width} x {height} pixels")
    if height * width > max_pixels:
        raise too_large(where, f"{width} x {height}", max_pixels)


def seek_frame(where: str, count: int, frame: int | None, seek: Callable[[int], object]) -> None:
    """Go to ``frame`` of a file with ``count`` frames by ``seek(frame)``; a file with several needs a frame named."""
    if frame is None and count > 1:
        raise MedclmError(
            "the file holds several frames and none was named",
            where=where,
            expected="one frame",
            got=f"{count} frames",
            remedy=f"name one with frame=0 … frame={count - 1}, or write each frame as its own file",
        )
    if not 0 <= (frame or 0) < count:
        raise MedclmError("there is no such frame", where=where, expected=f"0 … {count - 1}", got=frame)
    seek(frame or 0)


def not_an_image(where: str, got: object) -> MedclmError:
    """The error for bytes that no decoder knows."""
    return MedclmError(
        "the file is not an image that can be read",
        where=where,
        expected="a DICOM, NIfTI, NRRD, PNG, JPEG or TIFF file with pixels",
        got=got,
        remedy="remove the file from the dataset or convert it",
    )


def too_large(where: str, got: str, max_pixels: int) -> MedclmError:
    """The error for a picture over the pixel limit."""
    return MedclmError(
        "the picture is too large",
        where=where,
        expected=f"at most {max_pixels} pixels",
        got=got,
        remedy="make it smaller, or raise max_pixels if it is meant to be so large",
    )
