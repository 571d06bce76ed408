"""A process that will handle many pictures, made ready: freed memory is kept, and garbage is looked for less often.

A picture's way makes dozens of arrays of a megabyte that live for a millisecond. glibc returns each to the system and
asks for it again, 4,000 page faults a picture of 512 x 512; and Python's collector walks the same imported modules and
networks over and over. Together 10 % of a build's CPU time (docs/decisions/0006).
"""

from __future__ import annotations

import ctypes
import gc

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3)."""
KEPT_BYTES = 256 * 2**20
"""Freed memory at the top of the heap that a process keeps."""
ARRAY_BYTES = 32 * 2**20
"""Larger arrays are returned to the system when they are freed."""
GARBAGE = 20_000
"""Container objects between two looks of the collector at the youngest; Python's own is 700."""


def settle() -> bool:
    """To be called once, after networks were loaded. What exists then is never looked at by the collector again.

    Returns:
        Whether the memory allocator could be told: glibc's can, that of other systems cannot.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_MMAP_THRESHOLD: ARRAY_BYTES, _TRIM_THRESHOLD: KEPT_BYTES, _TOP_PAD: KEPT_BYTES // 4}
    return all([mallopt(name, value) == 1 for name, value in settings.items()])
