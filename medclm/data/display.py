"""Turning stored pixels into radiological display: the patient's left on the right, the head (or the front) up.

A display is a transpose followed by flips; it is recorded with the row (``Source.display``), applied to the picture,
to boxes and to masks alike, and can be undone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medclm.data.records import BoxXyxy


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
        height, width = size_hw
        if self.transpose:
            x1, y1, x2, y2 = y1, x1, y2, x2
            height, width = width, height
        if self.flip_rows:
            y1, y2 = height - y2, height - y1
        if self.flip_cols:
            x1, x2 = width - x2, width - x1
        return x1, y1, x2, y2
