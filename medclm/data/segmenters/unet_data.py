"""What the U-Net learns from: the pictures of a detection dataset that come with organ masks."""

from __future__ import annotations

import csv
import json
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclm import storage
from medclm.data import derive, images
from medclm.data.segmenters import picture_input
from medclm.errors import UsageError

MIN_SHARE = 0.5
"""An organ is learnt when at least this share of the pictures has a mask of it."""


@dataclass(frozen=True)
class Example:
    """One picture with its true masks.

    Attributes:
        image_id, patient_id: as the reader has them; cross-validation keeps a patient on one side.
        picture: (H, W) uint8, as rendered.
        masks: (H, W) bool by organ of the vocabulary.
    """

    image_id: str
    patient_id: str
    picture: np.ndarray
    masks: dict[str, np.ndarray]


def load_examples(dataset_dir: str, mask_organ: str | None = None) -> list[Example]:
    """Every picture of a dataset that has masks, in the order of its annotation file.

    A mask of both lungs (or any pair) also gives its left and its right part (:func:`medclm.data.derive.derived`).

    Args:
        dataset_dir: folder with ``images``, ``masks`` and ``annotations.json`` (or one other COCO file), at any fsspec
            address.
        mask_organ: what ``masks/<image id>.png`` shows, where masks are one file an image and not
            ``masks/<image id>/<organ>.png``.

    Raises:
        UsageError: no picture has masks. MedclmError: a picture or mask cannot be read; nothing is left out here.
    """
    from medclm.data.readers.coco import read_coco
    from medclm.data.segmenters.masks import MaskFiles

    root = dataset_dir.rstrip("/")
    segmenter = MaskFiles(f"{root}/masks" + (f"#{mask_organ}" if mask_organ else ""))
    examples = []
    for record in read_coco(f"{root}/images", annotation_file(root), "segmenter").records:
        uri = record.source.uri
        picture = images.to_gray(images.render(images.read_picture(storage.read_bytes(uri), uri))[0])
        (masks,) = segmenter([picture_input(picture, record.image_id)])
        if masks:
            examples.append(Example(record.image_id, record.patient_id, picture, derive.derived(masks)))
    if not examples:
        raise UsageError(
            "there is nothing to learn from",
            where=dataset_dir,
            expected="masks/<image id>/<organ>.png, or masks/<image id>.png and the name of their organ",
            got="no masks",
        )
    return examples


def annotation_file(dataset_dir: str) -> str:
    """``annotations.json`` of a dataset, or the one JSON file that it has.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = storage.list_files(dataset_dir, "*.json")
    named = [address for address in found if posixpath.basename(address) == "annotations.json"] or found
    if len(named) != 1:
        raise UsageError(
            "the annotation file of the dataset is not clear",
            where=dataset_dir,
            expected="annotations.json, or one other JSON file",
            got=", ".join(map(posixpath.basename, found)) or "none",
        )
    return named[0]


def dataset_info(dataset_dir: str) -> Any:
    """What the dataset says of itself: ``info`` of its annotation file."""
    return json.loads(storage.read_bytes(annotation_file(dataset_dir))).get("info")


def dataset_sources(dataset_dir: str) -> list[dict[str, Any]]:
    """Whose pictures a dataset holds, and how many, by its ``licences.csv`` (columns licence, url, doi); [] without."""
    path = storage.join(dataset_dir, "licences.csv")
    if not storage.exists(path):
        return []
    rows = csv.DictReader(storage.read_bytes(path).decode().splitlines())
    counts = Counter((row["licence"], row["url"], row["doi"]) for row in rows)
    keys = ("licence", "url", "doi")
    return [{**dict(zip(keys, source, strict=True)), "pictures": n} for source, n in counts.most_common()]


def dataset_note(dataset_dir: str) -> str:
    """What the dataset's ``NOTE.txt`` says of its origin and licences; "" without one."""
    path = storage.join(dataset_dir, "NOTE.txt")
    return " ".join(storage.read_bytes(path).decode().split()) if storage.exists(path) else ""


def common_organs(examples: Sequence[Example], wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names of the organs that enough pictures show (:data:`MIN_SHARE`), in order; ``wanted`` ones only.

    Raises:
        UsageError: a wanted organ has too few masks.
    """
    seen = Counter(organ for example in examples for organ in example.masks)
    organs = sorted(organ for organ, count in seen.items() if count >= MIN_SHARE * len(examples))
    if wanted is None:
        return tuple(organs)
    if missing := sorted(set(wanted) - set(organs)):
        raise UsageError("too few pictures show an organ", got=", ".join(missing), expected=", ".join(organs))
    return tuple(sorted(wanted))


def stacked(examples: Sequence[Example], organs: Sequence[str], size_hw: tuple[int, int]) -> tuple[Any, Any]:
    """Pictures and masks at the network's size: (N, H, W) uint8, and (N, organs, H, W) uint8 of 0 and 1."""
    pictures = np.stack([_resized(example.picture, size_hw) for example in examples])
    empty = np.zeros(size_hw, np.uint8)
    masks = [
        [_resized(e.masks[o].astype(np.uint8), size_hw, nearest=True) if o in e.masks else empty for o in organs]
        for e in examples
    ]
    return pictures, np.array(masks)


def _resized(array: np.ndarray, size_hw: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """(H, W) uint8 resized, bilinear unless ``nearest``."""
    from PIL import Image

    if array.shape == size_hw:
        return array
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(array).resize(size_hw[::-1], how))
