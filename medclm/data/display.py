"""Turning stored pixels into radiological display: the patient's left on the right, the head (or the front) up.

A display is a transpose followed by flips; it is recorded with the row (``Source.display``), applied to the picture,
to boxes and to masks alike, and can be undone. Directions are LPS as in DICOM: +x to the patient's left, +y to the
back, +z to the head (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medclm.data import boxes
from medclm.data.records import BoxXyxy, Finding, Organ, Spacing

Orientation = tuple[float, float, float, float, float, float]
"""Direction cosines as Image Orientation (Patient) (0020,0037) has them: first the direction in which the column index
grows, then the one in which the row index grows."""

PLANES = ("sagittal", "coronal", "axial")
"""By the axis, x to z, that is nearest to the normal of the picture."""

_SHOWN: dict[str, tuple[int, int, int, int]] = {
    "axial": (0, +1, 1, +1),
    "coronal": (0, +1, 2, -1),
    "sagittal": (1, +1, 2, -1),
}
"""By plane, axis and sign along which the displayed columns run, then those along which the rows run."""

_LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}


@dataclass(frozen=True)
class Display:
    """Transpose first, then flip rows (up-down), then columns (left-right)."""

    transpose: bool = False
    flip_rows: bool = False
    flip_cols: bool = False

    @property
    def text(self) -> str:
        """``"transpose+flip-rows+flip-cols"`` without the parts that are off; "" for no change."""
        names = {"transpose": self.transpose, "flip-rows": self.flip_rows, "flip-cols": self.flip_cols}
        return "+".join(name for name, on in names.items() if on)

    @classmethod
    def parse(cls, text: str) -> Display:
        """The inverse of :attr:`text`.

        Raises:
            ValueError: a part is none of the three names.
        """
        parts = set(filter(None, text.split("+")))
        if parts - {"transpose", "flip-rows", "flip-cols"}:
            raise ValueError(f"no display: {text!r}")
        return cls("transpose" in parts, "flip-rows" in parts, "flip-cols" in parts)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Stored (H, W) or (H, W, C) pixels as displayed; a view where possible."""
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        if self.flip_rows:
            pixels = pixels[::-1]
        return pixels[:, ::-1] if self.flip_cols else pixels

    def undo(self, pixels: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`apply`."""
        if self.flip_cols:
            pixels = pixels[:, ::-1]
        if self.flip_rows:
            pixels = pixels[::-1]
        return pixels.swapaxes(0, 1) if self.transpose else pixels

    def box(self, box_xyxy: BoxXyxy, size_hw: tuple[int, int]) -> BoxXyxy:
        """A box of the stored picture of ``size_hw`` in pixels of the displayed one."""
        x1, y1, x2, y2 = box_xyxy
        height, width = size_hw  # stored
        if self.transpose:
            x1, y1, x2, y2 = y1, x1, y2, x2
            height, width = width, height
        if self.flip_rows:
            y1, y2 = height - y2, height - y1
        if self.flip_cols:
            x1, x2 = width - x2, width - x1
        return x1, y1, x2, y2

    def rle(self, counts: str, size_hw: tuple[int, int]) -> str:
        """The run-length code of a mask of the stored picture as that of the displayed one.

        Raises:
            ValueError: the code is no mask of ``size_hw``.
        """
        return boxes.encode_rle(self.apply(boxes.decode_rle(counts, size_hw)))

    def spacing(self, spacing_mm: Spacing | None) -> Spacing | None:
        """The spacing of the displayed picture from that of the stored one."""
        if spacing_mm is None or not self.transpose:
            return spacing_mm
        return Spacing(row=spacing_mm.col, col=spacing_mm.row)


def plane_name(orientation: Orientation) -> str:
    """``axial``, ``coronal`` or ``sagittal``, whichever the picture is nearest to; "" where its directions are one."""
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    return PLANES[int(np.argmax(normal))] if normal.max() > 1e-3 else ""


def display_of(orientation: Orientation) -> Display:
    """How stored pixels are turned so that they are seen as radiologists see them.

    Axial: columns run to the patient's left and rows to the back. Coronal and frontal: columns to the left, rows to the
    feet. Sagittal and lateral: columns to the back, rows to the feet. An oblique picture is turned as the plane that it
    is nearest to and not resampled: tilted by less than 45 degrees about one axis, it is turned as if it were straight.

    Raises:
        ValueError: the two directions are one, so that there is no plane.
    """
    plane = plane_name(orientation)
    if not plane:
        raise ValueError(f"no plane has the orientation {orientation}")
    across, across_sign, down, down_sign = _SHOWN[plane]
    row, col = np.array(orientation, dtype=np.float64).reshape(2, 3)
    transpose = abs(row[down]) + abs(col[across]) > abs(row[across]) + abs(col[down])
    if transpose:
        row, col = col, row
    return Display(bool(transpose), bool(col[down] * down_sign < 0), bool(row[across] * across_sign < 0))


def orientation_of_letters(letters: Sequence[str]) -> Orientation | None:
    """Patient Orientation (PS3.3 C.7.6.1.1.1), e.g. ``["L", "F"]``, as direction cosines by the first letter of each.

    Where the second is missing beside ``L`` or ``R``, the head is taken to be up.

    Returns:
        None where it is absent, of another kind (quadrupeds have letters of their own), or names one axis twice.
    """
    named = [str(text).strip().upper()[:1] for text in letters]
    if named and named[0] in ("L", "R") and not any(named[1:]):
        named = [named[0], "F"]
    if len(named) != 2 or not set(named) <= set(_LETTERS):
        return None
    row, col = (_LETTERS[letter] for letter in named)
    return None if np.dot(row, col) else (*row, *col)


def turned(finding: Finding, display: Display, size_hw: tuple[int, int]) -> Finding:
    """A finding of the stored picture of ``size_hw``, its box and mask, on the displayed one.

    Raises:
        ValueError: the mask is none of that size.
    """
    if display == Display():
        return finding
    mask_rle = None if finding.mask_rle is None else display.rle(finding.mask_rle, size_hw)
    return finding.model_copy(update={"box_xyxy": display.box(finding.box_xyxy, size_hw), "mask_rle": mask_rle})


def turned_organ(organ: Organ, display: Display, size_hw: tuple[int, int]) -> Organ:
    """As :func:`turned`, for an organ that came with the annotations."""
    if display == Display():
        return organ
    box = display.box(organ.box_xyxy, size_hw)
    return organ.model_copy(update={"box_xyxy": box, "rle": display.rle(organ.rle, size_hw)})
