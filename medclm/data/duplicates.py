"""Duplicates: pictures that occur more than once in a dataset, byte for byte or to the eye.

Equal bytes are found by SHA-256. Pictures that only look alike (saved again, resized, brightened) are found by the
perceptual hash of :func:`imagehash.phash` with 256 bits: a DCT of the picture at 64 x 64, its 16 x 16 lowest
frequencies against their median.

:data:`MAX_DISTANCE` was chosen on 83 chest radiographs of different patients (``cxr-lung-masks-ccby83``). JPEG quality
40, half the size and 0.7 x contrast moved a picture by at most 8 bits, 1.2 x brightness and gamma 0.7 by at most 6 and
14 in 95 of 100; the closest two of different patients were 72 bits apart, the closest two of 150 phantoms 16. A crop by
2 % a side moves a picture by 40 bits and is not found.

No picture is kept, and pictures are not compared with each other one by one: two hashes within ``t`` bits agree in at
least one of ``t + 1`` disjoint bands, so only hashes that share a band are compared.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from typing import Any

import numpy as np

HASH_SIDE = 16
"""The hash has ``HASH_SIDE ** 2`` bits."""
MAX_DISTANCE = 12
"""Two pictures look alike when at most this many of the 256 bits differ."""
FLAT = 2.0
"""A picture whose grey values have a smaller standard deviation has no look to compare: only its bytes are."""
EXAMPLES = 8
_CHUNK = 1 << 21


def perceptual_hash(data: bytes) -> bytes | None:
    """32 bytes for an encoded picture, or None for one that shows nothing (:data:`FLAT`)."""
    import imagehash
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as picture:
        grey = picture.convert("L")
    if np.asarray(grey).std() < FLAT:
        return None
    return np.packbits(imagehash.phash(grey, hash_size=HASH_SIDE).hash).tobytes()


class PictureIndex:
    """Collects the pictures of a dataset one by one. About 200 bytes a picture are kept."""

    def __init__(self) -> None:
        self._images: list[tuple[str, str, str]] = []
        self._by_bytes: dict[bytes, list[int]] = defaultdict(list)
        self._by_look: dict[bytes, list[int]] = defaultdict(list)

    def add(self, image_id: str, patient_id: str, split: str, data: bytes) -> None:
        """``data``: the encoded picture."""
        place = len(self._images)
        self._images.append((image_id, patient_id, split))
        copies = self._by_bytes[hashlib.sha256(data).digest()]
        copies.append(place)
        look = perceptual_hash(data) if len(copies) == 1 else None
        if look is not None:
            self._by_look[look].append(place)

    def exact(self) -> dict[str, Any]:
        """Groups of pictures with equal bytes; see :meth:`_summary`."""
        return self._summary([places for places in self._by_bytes.values() if len(places) > 1])

    def near(self, max_distance: int = MAX_DISTANCE) -> dict[str, Any]:
        """Groups of pictures with different bytes that look alike, joined where any two of them do.

        Neighbouring slices of one volume look alike by nature: what counts are groups across splits and patients.
        """
        looks = list(self._by_look)
        pairs = near_pairs(np.frombuffer(b"".join(looks), np.uint8).reshape(-1, HASH_SIDE**2 // 8), max_distance)
        members = list(self._by_look.values())
        groups = [[place for node in nodes for place in members[node]] for nodes in _components(pairs, len(looks))]
        return {"max_distance": max_distance, **self._summary([group for group in groups if len(group) > 1])}

    def _summary(self, groups: list[list[int]]) -> dict[str, Any]:
        """Counts of groups, and examples as lists of image ids, those across splits and then across patients first."""

        def differ(group: list[int], column: int) -> bool:
            return len({self._images[place][column] for place in group}) > 1

        named = sorted(sorted(group, key=lambda place: self._images[place]) for group in groups)
        named.sort(key=lambda group: (not differ(group, 2), not differ(group, 1), self._images[group[0]]))
        return {
            "groups": len(groups),
            "images": sum(len(group) for group in groups),
            "groups_across_patients": sum(differ(group, 1) for group in groups),
            "groups_across_splits": sum(differ(group, 2) for group in groups),
            "examples": [[self._images[place][0] for place in group[:EXAMPLES]] for group in named[:EXAMPLES]],
        }


def near_pairs(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """All pairs of rows whose Hamming distance is at most ``max_distance``.

    Args:
        hashes: (n, bytes) uint8, rows distinct.
        max_distance: bits, below the number of bits of a row.

    Returns:
        (m, 2) int64 of row numbers, first < second, sorted, each pair once.
    """
    found = [np.empty((0, 2), np.int64)]
    bits = np.unpackbits(hashes, axis=1)
    words = _words(hashes)
    for band in range(max_distance + 1):  # every (t + 1)-th bit: neighbouring frequencies are alike, so they are spread
        keys = _words(np.packbits(bits[:, band :: max_distance + 1], axis=1))
        order = np.lexsort(keys.T)
        same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
        starts = np.flatnonzero(np.concatenate([[True], ~same]))[: len(order)]
        for bucket in np.split(order, starts[1:]):
            if len(bucket) > 1:
                found.append(_close(np.sort(bucket), words, max_distance))
    return np.unique(np.concatenate(found), axis=0)


def _words(rows: np.ndarray) -> np.ndarray:
    """Rows of bytes as rows of uint64, padded with zeros."""
    padded = np.zeros((len(rows), -(-rows.shape[1] // 8) * 8), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view(np.uint64)


def _close(bucket: np.ndarray, words: np.ndarray, max_distance: int) -> np.ndarray:
    """The near pairs within one bucket, a bounded number of comparisons at a time."""
    found = []
    step = max(1, _CHUNK // len(bucket))
    for start in range(0, len(bucket), step):
        rows = words[bucket[start : start + step]]
        distance = np.zeros((len(rows), len(bucket)), np.uint16)
        for column in range(words.shape[1]):
            distance += np.bitwise_count(rows[:, None, column] ^ words[None, bucket, column])
        first, second = np.nonzero(distance <= max_distance)
        keep = first + start < second
        found.append(np.stack([bucket[first[keep] + start], bucket[second[keep]]], axis=1))
    return np.concatenate(found)


def _components(pairs: np.ndarray, count: int) -> list[list[int]]:
    """Connected components of a graph of ``count`` nodes, nodes in order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not count:
        return []
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    return [part.tolist() for part in np.split(order, np.flatnonzero(np.diff(label[order])) + 1)]
