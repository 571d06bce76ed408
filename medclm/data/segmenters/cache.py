"""Masks kept between runs: a segmenter is asked once for each picture, whatever the number of builds."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from medclm import storage
from medclm.data import boxes
from medclm.data.segmenters import Segmenter, SegmenterInput

FORMAT_VERSION = 1


class CachedSegmenter:
    """A segmenter whose masks are kept as files.

    ``DIRECTORY/<hash of the segmenter's name>/<2 digits>/<hash of the picture>.json`` holds the run-length codes of one
    picture. A picture is its file (``Source.sha256``), frame, volume, display and pixels as shown: another window is
    another picture to a network. A segmenter's name carries the hash of its weights, so new weights are a new folder.
    Files are written whole or not at all; several actors may share a directory.
    """

    def __init__(self, segmenter: Segmenter, directory: str) -> None:
        """``directory``: any fsspec address."""
        self.segmenter, self.name = segmenter, segmenter.name
        self.folder = storage.join(directory, storage.fingerprint([FORMAT_VERSION, segmenter.name]))

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`; the segmenter sees only the pictures that are not there."""
        addresses = [self.address(image) for image in images]
        found = [self._read(address, image) for address, image in zip(addresses, images, strict=True)]
        missing = [i for i, masks in enumerate(found) if masks is None]
        fresh = self.segmenter([images[i] for i in missing]) if missing else []
        for i, masks in zip(missing, fresh, strict=True):
            found[i] = masks
            storage.publish_json(addresses[i], self._entry(masks, images[i]))
        return [masks for masks in found if masks is not None]

    def address(self, image: SegmenterInput) -> str:
        """Where the masks of a picture are kept."""
        key = picture_key(image)
        return storage.join(self.folder, key[:2], f"{key}.json")

    def _entry(self, masks: dict[str, np.ndarray], image: SegmenterInput) -> dict[str, Any]:
        return {
            "segmenter": self.name,
            "size_hw": list(image.shown.shape[:2]),
            "organs": {name: boxes.encode_rle(mask) for name, mask in masks.items()},
        }

    def _read(self, address: str, image: SegmenterInput) -> dict[str, np.ndarray] | None:
        if not storage.exists(address):
            return None
        entry = storage.read_json(address)
        size_hw = image.shown.shape[:2]
        return {name: boxes.decode_rle(rle, size_hw) for name, rle in entry["organs"].items()}


def picture_key(image: SegmenterInput) -> str:
    """32 hex digits that are the same for the same picture of the same file."""
    source = image.source
    digest = hashlib.blake2b(digest_size=16)
    digest.update(storage.canonical([source.sha256, source.frame, source.volume, image.display.text]).encode())
    digest.update(storage.canonical(list(image.shown.shape)).encode())
    digest.update(image.shown.tobytes())
    return digest.hexdigest()
