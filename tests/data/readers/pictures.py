"""Picture files for tests of readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_png(path: Path, size_hw: tuple[int, int], value: int = 0, dtype: type = np.uint8) -> None:
    """A flat PNG; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size_hw, value, dtype)).save(path)


def boxes_of(result) -> dict[str, list[tuple]]:
    """(label_raw, box) of every finding by image id."""
    return {r.image_id: [(f.label_raw, f.box_xyxy) for f in r.findings] for r in result.records}


def reasons_of(result) -> list[tuple]:
    """(reason, image id, finding id) of every reject."""
    return [(r.reason, r.image_id, r.finding_id) for r in result.rejects]
