"""Volumes: the slices of one NIfTI, NRRD or MetaImage file or of one DICOM series on one grid in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from medclm.data.grid import Grid
from medclm.data.picture import Picture

AIR_HU = -900.0
"""Air is at -1000 HU; scanners and interpolation leave it near that."""


@dataclass(frozen=True)
class SliceFile:
    """Where one slice is stored: ``Source.uri`` and ``Source.frame`` of its record."""

    uri: str
    frame: int | None = None


@dataclass(frozen=True)
class Volume:
    """Slices of one size on one grid.

    Args:
        stored: (slices, rows, columns) as the file has it. Slice k of a NIfTI or NRRD array is ``array[:, :, k].T``.
        grid: where the voxels lie, LPS+.
        file_format: "nifti", "nrrd", "metaimage" or "dicom".
        slope, intercept: modality units are ``stored * slope + intercept``.
        modality: DICOM's code, "" where the file does not say.
        slices: the file and frame of each slice.
    """

    stored: np.ndarray = field(repr=False)
    grid: Grid
    file_format: str
    slope: float = 1.0
    intercept: float = 0.0
    modality: str = ""
    slices: tuple[SliceFile, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def values(self) -> np.ndarray:
        """(slices, rows, columns) float32 in modality units; made anew at each call."""
        return self._in_units(self.stored)

    def picture(self, k: int) -> Picture:
        """Slice ``k``, 0-based, as stored, with its plane, spacing and display."""
        known = self.grid.orientation is not None
        return Picture(
            self._in_units(self.stored[k]),
            self.file_format,
            bits=8 * self.stored.dtype.itemsize,
            modality=self.modality or ("CT" if self._has_air else ""),
            plane=self.grid.plane,
            spacing_mm=self.grid.spacing_mm,
            rescaled=self._is_rescaled or self.stored.dtype.kind != "u",
            orientation=self.grid.orientation,
            notes=() if known else ("the file does not say how the volume lies in the patient",),
        )

    @cached_property
    def _has_air(self) -> bool:
        """Whether values go down to air in Hounsfield units: no other modality's do, so the volume is CT."""
        return bool(len(self)) and float(self.stored.min()) * self.slope + self.intercept <= AIR_HU

    @property
    def _is_rescaled(self) -> bool:
        return (self.slope, self.intercept) != (1.0, 0.0)

    def _in_units(self, stored: np.ndarray) -> np.ndarray:
        if not self._is_rescaled:
            return stored.astype(np.float32)
        return (stored.astype(np.float64) * self.slope + self.intercept).astype(np.float32)
