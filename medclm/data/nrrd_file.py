"""NRRD files: ``.nrrd``, and ``.nhdr`` with its voxels in one file beside it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from medclm.data.grid import Grid, grid_of
from medclm.data.volume_bytes import sibling, three_axes

_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
"""Signs that turn a space's coordinates into LPS+ (NRRD format, "space"); other spaces are not a patient's."""


def grid(head: bytes) -> Grid:
    """The grid from the beginning of a file; without ``space`` and ``space directions`` nobody knows how it lies."""
    header = _header(head)
    first = int(_is_layered(header))
    size = three_axes(tuple(header["sizes"][first:]))
    directions, origin = header.get("space directions"), header.get("space origin")
    signs = _SPACES.get(str(header.get("space", "")).lower())
    spacing = np.abs(np.r_[np.asarray(header.get("spacings", [0, 0, 0]), dtype=float), 0, 0][:3])
    if directions is None:
        return grid_of(size, None, spacing)
    directions = np.asarray(directions, dtype=float)[first:]
    if signs is None or origin is None or directions.shape != (3, 3):
        return grid_of(size, None, np.r_[np.linalg.norm(directions, axis=1), 0, 0][:3])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions.T, np.asarray(origin, dtype=float)
    return grid_of(size, np.diag([*signs, 1]) @ affine, spacing)


def voxels(data: bytes, where: str, beside: bool) -> tuple[np.ndarray, float, float]:
    """(I, J, K) as stored, slope 1, intercept 0 (the format has none).

    Args:
        where: its address. beside: whether the voxels may be read from another file of its folder.

    Raises:
        MedclmError: the voxels are missing, or are no volume.
    """
    import nrrd

    stream = io.BytesIO(data)
    header = nrrd.read_header(stream)
    names = [header.pop(key) for key in ("data file", "datafile") if key in header]
    if names:
        stream = io.BytesIO(sibling(where if beside else "", names[0]))
    return nrrd.read_data(header, stream).reshape(three_axes(tuple(header["sizes"])), order="F"), 1.0, 0.0


def layer_count(data: bytes) -> int:
    """How many label volumes lie over each other: 3D Slicer's layers of segments that overlap (a first axis "list")."""
    header = _header(data)
    return int(header["sizes"][0]) if _is_layered(header) else 1


def layer(data: bytes, number: int) -> np.ndarray:
    """(I, J, K) voxels of one layer of a layered file, from 0."""
    import nrrd

    stream = io.BytesIO(data)
    return nrrd.read_data(nrrd.read_header(stream), stream)[number]


def _is_layered(header: Any) -> bool:
    return len(header["sizes"]) == 4 and list(header.get("kinds", ()))[:1] == ["list"]


def segments(data: bytes, number: int = 0) -> dict[int, str]:
    """Label values to names as 3D Slicer writes them into the header: ``Segment0_LabelValue`` and ``Segment0_Name``.

    ``number``: of the layer (``Segment0_Layer``, 0 where there is none).
    """
    header = _header(data)
    found = {}
    for key, value in header.items():
        prefix, _, what = key.partition("_")
        named = what == "LabelValue" and prefix.startswith("Segment") and f"{prefix}_Name" in header
        if named and int(header.get(f"{prefix}_Layer", 0)) == number:
            found[int(value)] = str(header[f"{prefix}_Name"]).strip()
    return found


def _header(data: bytes) -> Any:
    import nrrd

    return nrrd.read_header(io.BytesIO(data))
