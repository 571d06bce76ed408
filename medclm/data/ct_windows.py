"""CT windows by body region, and the one that suits a slice whose file does not say.

The choice is a rule on grey values, not a classifier: it reads shares of air, bone and soft tissue off one slice of any
plane, on a copy of about 128 pixels a side. It needs no spacing and no left and right. A slice that it takes for
another region is shown in that region's window, and the row says which (``Image.window.name``).
"""

from __future__ import annotations

import numpy as np

from medclm.data.records import Window

CT_WINDOWS: dict[str, Window] = {
    "lung": Window(center=-600, width=1500, name="lung"),
    "mediastinum": Window(center=40, width=400, name="mediastinum"),
    "bone": Window(center=400, width=1800, name="bone"),
    "liver": Window(center=60, width=160, name="liver"),
    "brain": Window(center=40, width=80, name="brain"),
}
"""Display windows for CT, Hounsfield units."""

AIR_HU, BONE_HU = -500.0, 250.0
LUNG_SHARE = 0.2
"""Of the body: more air than this is lungs (the airways of head and neck and bowel gas stay below)."""
BRAIN_SHARE, BRAIN_HU = 0.4, (0.0, 90.0)
"""Share of the body inside a closed ring of bone, and the median there."""
BONE_SHARE = 0.15
"""Of the body: a limb, or the base of the skull."""
ABDOMEN_AIR_SHARE = 0.02
"""Of the body: with less air than this, a large organ is the liver and not the heart between the lungs."""
PARENCHYMA_HU, LIVER_DISC = (40.0, 160.0), (0.25, 0.5)
"""Liver without and with contrast medium, and the radius of the largest disc of it in that of a disc of the body's
area. Muscles hold smaller discs; a larger one is no organ."""
SMALL_PX = 128


def window_of(hounsfield: np.ndarray) -> Window:
    """The window of :data:`CT_WINDOWS` that suits what one slice shows.

    The body is the largest connected part above -500 HU with its holes filled. The first that fits is taken:

    * brain: a closed ring of bone (above 250 HU) holds 40 % of the body, and the median inside is 0 to 90 HU;
    * lung: more than 20 % of the body is below -500 HU;
    * bone: more than 15 % of the body is above 250 HU;
    * liver: less than 2 % is below -500 HU, and the largest disc of 40 to 160 HU has 0.25 to 0.5 times the radius of a
      disc of the body's area;
    * mediastinum: everything else, also a picture without a body.

    Args:
        hounsfield: (H, W); values that are no number count as air.
    """
    return CT_WINDOWS[_region(_reduced(np.nan_to_num(hounsfield, nan=-1024.0)))]


def _region(values: np.ndarray) -> str:
    """The region's name, by the rule of :func:`window_of`."""
    body = _body(values)
    size = int(body.sum())
    if size == 0:
        return "mediastinum"
    if _is_brain(values, body):
        return "brain"
    air = np.count_nonzero(values[body] < AIR_HU) / size
    if air > LUNG_SHARE:
        return "lung"
    if np.count_nonzero(values[body] > BONE_HU) / size > BONE_SHARE:
        return "bone"
    low, high = LIVER_DISC
    return "liver" if air < ABDOMEN_AIR_SHARE and low <= _largest_disc(values, body) <= high else "mediastinum"


def _reduced(values: np.ndarray) -> np.ndarray:
    """Means of square blocks, so that 128 to 255 pixels a side remain of a larger slice; this takes noise away too."""
    step = max(1, min(values.shape) // SMALL_PX)
    height, width = values.shape[0] // step, values.shape[1] // step
    blocks = values[: height * step, : width * step].reshape(height, step, width, step)
    return blocks.mean(axis=(1, 3), dtype=np.float64)


def _body(values: np.ndarray) -> np.ndarray:
    """The largest connected part above :data:`AIR_HU`, holes filled; all False where there is none."""
    from scipy import ndimage

    labels, count = ndimage.label(values > AIR_HU)
    if count == 0:
        return np.zeros(values.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return ndimage.binary_fill_holes(labels == largest)


def _is_brain(values: np.ndarray, body: np.ndarray) -> bool:
    """Whether a closed ring of bone, gaps of two pixels bridged, lies around much soft tissue."""
    from scipy import ndimage

    ring = ndimage.binary_closing(np.pad(values > BONE_HU, 2))
    inside = (ndimage.binary_fill_holes(ring) & ~ring)[2:-2, 2:-2] & body
    low, high = BRAIN_HU
    return bool(inside.sum() >= BRAIN_SHARE * body.sum() and low <= np.median(values[inside]) <= high)


def _largest_disc(values: np.ndarray, body: np.ndarray) -> float:
    """Radius of the largest disc of :data:`PARENCHYMA_HU`, in that of a disc of the body's area."""
    from scipy import ndimage

    parenchyma = body & (values >= PARENCHYMA_HU[0]) & (values <= PARENCHYMA_HU[1])
    radius = ndimage.distance_transform_edt(np.pad(parenchyma, 1)).max()
    return float(radius / np.sqrt(body.sum() / np.pi))
