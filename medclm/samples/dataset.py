"""A detection dataset on disk: ``images/``, ``masks/<image id>/<organ>.png``, ``annotations.json`` and ``README.md``.

The directory appears whole or not at all: files go to a sibling with the suffix ``.partial``, which is renamed last.
"""

from __future__ import annotations

import json
import shutil
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from medclm.data.records import BoxXyxy
from medclm.errors import UsageError

GENERATOR = "medclm sample"


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO compressed run-length code ``{"size": [h, w], "counts": str}`` of a mask (H, W) bool."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def mask_png(mask: np.ndarray) -> bytes:
    """An 8-bit grey PNG of a mask (H, W) bool: 0 outside, 255 inside."""
    buffer = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG", compress_level=6, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


class DatasetWriter:
    """Writes one detection dataset. Use as a context manager: the directory is published when the block succeeds.

    Args:
        out: the dataset's directory. A dataset that this package wrote there before is replaced; anything else that
            is not an empty directory is refused with a UsageError.
        categories: names in the order of their COCO ids, 1 up.
        info: the COCO ``info`` object.
        readme: text of README.md.
    """

    def __init__(self, out: Path, categories: tuple[str, ...], info: dict[str, Any], readme: str) -> None:
        self.out = Path(out)
        self._partial = self.out.with_name(self.out.name + ".partial")
        self._readme = readme
        self._ids = {name: n for n, name in enumerate(categories, start=1)}
        self._coco: dict[str, Any] = {
            "info": {**info, "generator": GENERATOR},
            "categories": [{"id": n, "name": name} for name, n in self._ids.items()],
            "images": [],
            "annotations": [],
        }

    def __enter__(self) -> DatasetWriter:
        _refuse_foreign(self.out)
        if self._partial.exists():
            shutil.rmtree(self._partial)
        (self._partial / "images").mkdir(parents=True)
        (self._partial / "masks").mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self._partial)
            return
        (self._partial / "README.md").write_text(self._readme, encoding="utf-8")
        (self._partial / "annotations.json").write_text(json.dumps(self._coco, indent=1) + "\n", encoding="utf-8")
        if self.out.exists():
            shutil.rmtree(self.out)
        self._partial.rename(self.out)

    def add_image(self, image_id: str, file: bytes, size_hw: tuple[int, int], **fields: Any) -> int:
        """Add a DICOM file; ``fields`` are the further keys of its COCO entry. Returns its COCO id."""
        name = f"{image_id}.dcm"
        (self._partial / "images" / name).write_bytes(file)
        number = len(self._coco["images"]) + 1
        height, width = size_hw
        self._coco["images"].append({"id": number, "file_name": name, "width": width, "height": height, **fields})
        return number

    def add_masks(self, image_id: str, masks: dict[str, np.ndarray]) -> None:
        """Add the organ masks (H, W) bool of an image; empty ones are left out."""
        folder = self._partial / "masks" / image_id
        folder.mkdir()
        for organ, mask in masks.items():
            if mask.any():
                (folder / f"{organ}.png").write_bytes(mask_png(mask))

    def add_finding(
        self, image: int, label: str, mask: np.ndarray, box_xyxy: BoxXyxy, attributes: dict[str, str | float]
    ) -> None:
        """Add an annotation with its mask (H, W) bool and the mask's box."""
        x1, y1, x2, y2 = box_xyxy
        self._coco["annotations"].append(
            {
                "id": len(self._coco["annotations"]) + 1,
                "image_id": image,
                "category_id": self._ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": encode_rle(mask),
                "attributes": attributes,
            }
        )


def _refuse_foreign(out: Path) -> None:
    """Raise UsageError unless ``out`` is absent, empty, or a dataset that this package wrote."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    annotations = out / "annotations.json"
    if annotations.is_file() and f'"generator": "{GENERATOR}"' in annotations.read_text(encoding="utf-8"):
        return
    raise UsageError(
        "The output directory holds something else.",
        where=out,
        expected="a new or empty directory, or one that medclm sample wrote",
        remedy="choose another --out",
    )
