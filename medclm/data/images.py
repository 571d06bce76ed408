"""A picture: pixels in modality units with what is needed to show them, and the 8-bit rendering of it.

Grey DICOM pictures go through the chain of DICOM PS3.3: stored values (C.7.6.3) -> Modality LUT or rescale (C.11.1)
-> VOI LUT or window (C.11.2) -> inversion of MONOCHROME1 -> 8 bits. The full depth is kept up to the last step; the
8 bits are P-Values (PS3.14), for a display that is calibrated or nearly so.

Pixels are the stored ones: an EXIF orientation is *not* applied, because boxes belong to the stored pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from medclm.data.records import Spacing, Window
from medclm.errors import MedclmError, UsageError

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded (pixels of one frame), against decompression bombs."""

CT_WINDOWS: dict[str, Window] = {
    "lung": Window(center=-600, width=1500),
    "mediastinum": Window(center=40, width=400),
    "bone": Window(center=400, width=1800),
    "liver": Window(center=60, width=160),
    "brain": Window(center=40, width=80),
}
"""Display windows for CT, Hounsfield units."""

LUNG_HU, LUNG_SHARE = -500.0, 0.2


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
        file_format: "dicom", "png", "jpeg" or another format that Pillow reads.
        bits: bits stored per sample.
        modality, view, plane, patient_id, study_id: as the header says; "" where it does not.
        spacing_mm: distance of neighbouring rows and columns, or None.
        window: the file's own window, or None. ``window_function`` is its VOI LUT Function.
        voi_lut: the file's VOI LUT; it goes before ``window``.
        inverted: MONOCHROME1, low values are bright.
        padding: value of pixels that are no picture (Pixel Padding Value), in modality units, or None.
        left_on_right: the patient's left is on the picture's right; None where the header does not say.
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
    left_on_right: bool | None = None
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


def read_picture(data: bytes, where: str, frame: int | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode one image file by its content: DICOM, else whatever Pillow reads (PNG, JPEG, TIFF ...).

    Args:
        data: the whole file.
        where: its address, for messages.
        frame: which frame of a multi-frame file, from 0; None is right for files with one frame only.
        max_pixels: a larger picture is refused before it is decoded.

    Raises:
        MedclmError: the bytes are no image, are cut off, carry no pixels, are too large, or need ``frame``.
    """
    from medclm.data import dicom

    if dicom.is_dicom(data):
        return dicom.read_dicom(data, where, frame, max_pixels)
    return _read_raster(data, where, frame, max_pixels)


def _read_raster(data: bytes, where: str, frame: int | None, max_pixels: int) -> Picture:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        got = f"{len(data)} bytes, first ones {data[:8]!r}"
        raise not_an_image(where, got) from None
    except Image.DecompressionBombError:
        raise too_large(where, "more pixels than Pillow opens", max_pixels) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise not_an_image(where, str(error)) from error
    check_size(where, image.height, image.width, max_pixels)
    seek_frame(where, getattr(image, "n_frames", 1), frame, image.seek)
    try:
        values, bits = _raster_values(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MedclmError(
            "the image file is cut off or damaged",
            where=where,
            expected="a whole image file",
            got=str(error),
            remedy="fetch the file again",
        ) from error
    return Picture(values, (image.format or "").lower(), bits=bits)


def _raster_values(image) -> tuple[np.ndarray, int]:
    """Pixels of an open Pillow image and their bits: one channel as float32, colour as RGB uint8."""
    if image.mode.startswith(("I", "F")):
        array = np.asarray(image)
        return array.astype(np.float32), 8 * array.dtype.itemsize
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L")).astype(np.float32), 8
    return gray_if_equal(np.asarray(image.convert("RGB"))), 8


def gray_if_equal(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 whose channels are all the same becomes (H, W) float32; other pictures stay."""
    same = np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])
    return rgb[..., 0].astype(np.float32) if same else rgb


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
        expected="a DICOM, PNG or JPEG file with pixels",
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


def render(picture: Picture, window: str | Window = "auto") -> tuple[np.ndarray, Window | None]:
    """The picture as displayed: uint8 (H, W), or (H, W, 3) for colour.

    Args:
        picture: the picture in modality units.
        window: "auto", a name of :data:`CT_WINDOWS` (for CT; any other modality is shown as "auto"), or a Window.
            "auto" is the file's VOI LUT or window; without one, CT is shown in the lung window when more than 20 % of
            the body is below -500 HU and in the mediastinum window else; other pictures of up to 8 bits are
            shown as they are, deeper ones from their 0.5 to their 99.5 percentile.

    Returns:
        The pixels, and the window that was used: None for colour, for a VOI LUT and for values shown as they are.

    Raises:
        UsageError: ``window`` is no known name.
    """
    if isinstance(window, str) and window != "auto" and window not in CT_WINDOWS:
        raise UsageError("unknown window", got=window, expected=", ".join(["auto", *CT_WINDOWS]))
    if picture.is_color:
        return picture.values, None
    shown, used = _displayed(picture, window)
    if picture.inverted:
        shown = 1.0 - shown
    return np.floor(shown * 255.0 + 0.5).astype(np.uint8), used


def _displayed(picture: Picture, window: str | Window) -> tuple[np.ndarray, Window | None]:
    """(H, W) float64 in 0 to 1 before inversion, and the window used."""
    values = picture.values
    if isinstance(window, Window):
        return apply_window(values, window), window
    if window != "auto" and picture.modality == "CT":
        return apply_window(values, CT_WINDOWS[window]), CT_WINDOWS[window]
    if picture.voi_lut is not None:
        return picture.voi_lut(values) / (2**picture.voi_lut.bits - 1), None
    if picture.window is not None:
        return apply_window(values, picture.window, picture.window_function), picture.window
    if picture.modality == "CT":
        used = CT_WINDOWS["lung" if _shows_lung(values) else "mediastinum"]
        return apply_window(values, used), used
    if picture.bits <= 8 and not picture.rescaled:
        return np.clip(values.astype(np.float64), 0, 2**picture.bits - 1) / (2**picture.bits - 1), None
    used = _robust_window(picture)
    return apply_window(values, used, "LINEAR_EXACT"), used


def apply_window(values: np.ndarray, window: Window, function: str = "LINEAR") -> np.ndarray:
    """Values to display intensities 0 to 1, float64, by DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.

    Args:
        values: any shape, modality units.
        window: centre and width in the same units.
        function: LINEAR (needs width >= 1; spans centre - 0.5 +- (width - 1) / 2), LINEAR_EXACT
            (centre +- width / 2), or SIGMOID (1 / (1 + exp(-4 (x - centre) / width))).
    """
    x = values.astype(np.float64)
    center, width = window.center, window.width
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (x - center) / width, -700, 700)
        return 1.0 / (1.0 + np.exp(exponent))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
        if width < 0:
            raise MedclmError("a LINEAR window needs a width of at least 1", got=window.width)
        if width == 0:
            return (x > center).astype(np.float64)
    elif function != "LINEAR_EXACT":
        raise MedclmError("unknown VOI LUT Function", expected="LINEAR, LINEAR_EXACT or SIGMOID", got=function)
    return np.clip((x - center) / width + 0.5, 0.0, 1.0)


def _shows_lung(hounsfield: np.ndarray) -> bool:
    """Whether more than 20 % of the body (largest dense component, holes filled) is lung-like air."""
    from scipy import ndimage

    labels, count = ndimage.label(hounsfield > LUNG_HU)
    if count == 0:
        return False
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    body = ndimage.binary_fill_holes(labels == largest)
    return float(np.mean(hounsfield[body] < LUNG_HU)) > LUNG_SHARE


def _robust_window(picture: Picture) -> Window:
    """From the 0.5 to the 99.5 percentile of the pixels that are no padding."""
    values = picture.values
    valid = np.isfinite(values)
    if picture.padding is not None:
        valid &= values != picture.padding
    if not valid.any():
        return Window(center=0.0, width=1.0)
    low, high = (float(v) for v in np.percentile(values[valid], [0.5, 99.5]))
    return Window(center=(low + high) / 2, width=max(high - low, 1e-6))


def to_gray(pixels: np.ndarray) -> np.ndarray:
    """Rendered pixels as (H, W) uint8; colour by the ITU-R BT.601 luma weights."""
    if pixels.ndim == 2:
        return pixels
    return np.floor(pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)


def encode_png(array: np.ndarray) -> bytes:
    """Lossless PNG of (H, W) uint8 or uint16, or of (H, W, 3) uint8. The same pixels give the same bytes.

    zlib level 1: on 512 x 512 radiographs a quarter of the time of level 6, for 15 % more bytes.
    """
    from PIL import Image

    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3):
        raise ValueError(f"PNG takes uint8 or uint16 (H, W) or uint8 (H, W, 3), got {array.dtype} {array.shape}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes, where: str = "", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Stored pixels of a PNG or JPEG: (H, W) uint8 or uint16, or (H, W, 3) uint8. The inverse of :func:`encode_png`."""
    picture = _read_raster(data, where, None, max_pixels)
    if picture.is_color:
        return picture.values
    return picture.values.astype(np.uint16 if picture.bits > 8 else np.uint8)
