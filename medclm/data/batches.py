"""How rows travel between the stages of a build: Arrow tables, whose binary values are read in place."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from medclm.data.link import Masks

Batch = dict[str, Any]
"""Column name to a list of values, one a row."""


def rows_of(table: pa.Table) -> Batch:
    """The columns of a table as lists; binary values stay views of the table's memory."""
    return {
        name: [value.as_buffer() for value in column] if pa.types.is_large_binary(column.type) else column.to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def as_array(data: bytes, shape: str, dtype: type = np.uint8) -> np.ndarray:
    """A read-only view of raw bytes as an array; ``shape`` is JSON."""
    return np.frombuffer(data, dtype).reshape(json.loads(shape))


def pack_masks(masks: Masks) -> bytes:
    """(H, W) bool masks of one size, in the order of their names, as one bit a pixel without gaps."""
    return np.packbits(np.stack([masks[name] for name in sorted(masks)])).tobytes() if masks else b""


def unpack_masks(names: list[str], packed: bytes, size_hw: tuple[int, int]) -> Masks:
    """The inverse of :func:`pack_masks`; ``names`` are sorted."""
    shape = (len(names), *size_hw)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=int(np.prod(shape)))
    return dict(zip(names, bits.view(bool).reshape(shape), strict=True))
