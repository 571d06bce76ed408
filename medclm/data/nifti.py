"""NIfTI-1 and NIfTI-2 files: ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from medclm.data.grid import Grid, grid_of
from medclm.data.volume_bytes import inflated, three_axes

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's coordinates run to the right, the front and the head."""
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
"""In the header's unit of length; a file that names none is in millimetres."""


def grid(head: bytes) -> Grid:
    """The grid from the beginning of a file.

    The sform, else the qform, says how the volume lies; where the codes of both are 0, nobody knows (NIfTI-1 header,
    "orientation and location in space", method 1).
    """
    header = _header(head)
    known = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    mm = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    affine = np.diag([mm, mm, mm, 1]) @ LPS_FROM_RAS @ header.get_best_affine() if known else None
    return grid_of(three_axes(header.get_data_shape()), affine, np.r_[header.get_zooms(), 0, 0][:3] * mm)


def voxels(data: bytes, where: str, beside: bool) -> tuple[np.ndarray, float, float]:
    """(I, J, K) as stored, slope, intercept.

    Raises:
        EOFError: the file is cut off. MedclmError: it is no volume.
    """
    header = _header(data)
    shape, dtype, start = three_axes(header.get_data_shape()), header.get_data_dtype(), int(header.get_data_offset())
    wanted = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    content = inflated(data, wanted + 1, whole=True)  # one more, so that a gzip file is read to its check sum
    if len(content) < wanted:
        raise EOFError(f"{len(content)} bytes, {wanted} are declared")
    slope, intercept = header.get_slope_inter()
    array = np.frombuffer(content, dtype, offset=start, count=int(np.prod(shape))).reshape(shape, order="F")
    return array, 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _header(data: bytes) -> Any:
    import nibabel

    head = inflated(data, 544)
    is_first = 348 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind = nibabel.Nifti1Header if is_first else nibabel.Nifti2Header
    return kind.from_fileobj(io.BytesIO(head[: 348 if is_first else 540] + b"\0\0\0\0"))
