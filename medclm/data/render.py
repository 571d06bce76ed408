"""From a picture to the 8 bits that a viewer sees: VOI LUT or window (DICOM PS3.3 C.11.2), inversion, 8 bits.

The full depth is kept up to the last step; the 8 bits are P-Values (PS3.14), for a display that is calibrated or nearly
so.
"""

from __future__ import annotations

import numpy as np

from medclm.data.ct_windows import CT_WINDOWS, window_of
from medclm.data.picture import Picture
from medclm.data.records import Window
from medclm.errors import MedclmError, UsageError


def render(picture: Picture, window: str | Window = "auto") -> tuple[np.ndarray, Window | None]:
    """The picture as displayed: uint8 (H, W), or (H, W, 3) for colour, turned as ``picture.display`` says.

    Args:
        picture: the picture in modality units.
        window: "auto", a name of :data:`CT_WINDOWS` (for CT; any other modality is shown as "auto"), or a Window.
            "auto" is the file's VOI LUT or window; without one, CT is shown in the window of the body region that
            it seems to show (:func:`medclm.data.ct_windows.window_of`); other pictures of up to 8 bits are shown as
            they are, deeper ones from their 0.5 to their 99.5 percentile.

    Returns:
        The pixels, and the window that was used, with its name where it is a preset: None for colour, for a VOI LUT
        and for values shown as they are.

    Raises:
        UsageError: ``window`` is no known name.
    """
    if isinstance(window, str) and window != "auto" and window not in CT_WINDOWS:
        raise UsageError("unknown window", got=window, expected=", ".join(["auto", *CT_WINDOWS]))
    pixels, used = _eight_bits(picture, window)
    if picture.display is not None:
        pixels = np.ascontiguousarray(picture.display.apply(pixels))
    return pixels, used


def _eight_bits(picture: Picture, window: str | Window) -> tuple[np.ndarray, Window | None]:
    """The stored picture as uint8, and the window used; values that are no number are black."""
    if picture.is_color:
        return picture.values, None
    shown, used = _intensities(picture, window)
    if picture.inverted:
        shown = 1.0 - shown
    return np.floor(np.nan_to_num(shown) * 255.0 + 0.5).astype(np.uint8), used


def _intensities(picture: Picture, window: str | Window) -> tuple[np.ndarray, Window | None]:
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
        used = window_of(values)
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
