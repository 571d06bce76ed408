"""Duplicates: hand-made hashes, pictures that were saved again, and a brute-force comparison as oracle."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageEnhance

from medclm.data.duplicates import MAX_DISTANCE, PictureIndex, near_pairs, perceptual_hash


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def blobs(seed: int, side: int = 128) -> PIL.Image.Image:
    """A random picture: two of different seeds have nothing in common."""
    coarse = np.random.default_rng(seed).integers(20, 220, (33, 33)).astype(np.uint8)
    return PIL.Image.fromarray(coarse).resize((side, side), PIL.Image.Resampling.BICUBIC)


def bits_between(one: bytes, two: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(two, "big")).bit_count()


def test_exact_copies_are_grouped_and_those_across_splits_come_first():
    index = PictureIndex()
    a, b = encoded(blobs(1)), encoded(blobs(2))
    for name, patient, split, data in (
        ("b1", "p1", "train", b), ("b2", "p1", "train", b), ("a1", "p2", "train", a), ("a2", "p3", "test", a),
    ):  # fmt: skip
        index.add(name, patient, split, data)
    assert index.exact() == {
        "groups": 2, "images": 4, "groups_across_patients": 1, "groups_across_splits": 1,
        "examples": [["a1", "a2"], ["b1", "b2"]],
    }  # fmt: skip
    assert index.near()["groups"] == 0  # copies are not reported twice


def test_a_picture_saved_again_is_found_and_others_are_not():
    index = PictureIndex()
    original = blobs(1)
    index.add("png", "p1", "train", encoded(original))
    index.add("jpeg", "p2", "test", encoded(original, "JPEG", quality=40))
    index.add("small", "p1", "train", encoded(original.resize((64, 64))))
    index.add("bright", "p1", "train", encoded(ImageEnhance.Brightness(original).enhance(1.1)))
    for seed in range(2, 12):
        index.add(f"other{seed}", f"q{seed}", "train", encoded(blobs(seed)))
    assert index.exact()["groups"] == 0
    assert index.near() == {
        "max_distance": MAX_DISTANCE, "groups": 1, "images": 4, "groups_across_patients": 1,
        "groups_across_splits": 1, "examples": [["bright", "jpeg", "png", "small"]],
    }  # fmt: skip


def test_blank_pictures_have_no_look():
    assert perceptual_hash(encoded(PIL.Image.new("L", (64, 64), 30))) is None
    assert len(perceptual_hash(encoded(blobs(1)))) == 32
    index = PictureIndex()
    for grey in (0, 1, 2):
        index.add(f"blank{grey}", "p", "train", encoded(PIL.Image.new("L", (64, 64), grey)))
    assert index.near()["groups"] == index.exact()["groups"] == 0


def test_an_empty_dataset():
    index = PictureIndex()
    assert index.exact()["images"] == index.near()["images"] == 0


def test_pairs_by_hand():
    # rows 0 and 1 differ in 2 bits, 1 and 2 in 1, 0 and 2 in 3; row 3 is far from all
    rows = np.array([[0b00000000], [0b00000011], [0b00000111], [0b11111000]], np.uint8)
    assert near_pairs(rows, 2).tolist() == [[0, 1], [1, 2]]
    assert near_pairs(rows, 3).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert near_pairs(rows, 0).tolist() == []


@settings(max_examples=40, deadline=None)
@given(st.sets(st.binary(min_size=3, max_size=3), max_size=40), st.integers(0, 8))
def test_bands_find_what_comparing_all_finds(hashes, distance):
    rows = sorted(hashes)
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 3)
    every = [
        [i, j] for i in range(len(rows)) for j in range(i + 1, len(rows)) if bits_between(rows[i], rows[j]) <= distance
    ]
    assert near_pairs(table, distance).tolist() == every


def test_twenty_thousand_hashes_by_their_bands():
    table = np.random.default_rng(0).integers(0, 256, (20_000, 32), dtype=np.uint8)
    table[19_000] = table[3]
    table[19_000, 5] ^= 0b10110001  # 4 bits
    assert near_pairs(table, MAX_DISTANCE).tolist() == [[3, 19_000]]


def test_real_radiographs_are_told_apart(real_data):
    files = sorted(real_data("cxr-lung-masks-ccby83").glob("images/*"))[:30]
    if not files:
        pytest.skip("cxr-lung-masks-ccby83 has no images/")
    index = PictureIndex()
    for file in files:
        index.add(file.stem, file.stem, "train", file.read_bytes())
    assert index.near()["groups"] == 0
    with PIL.Image.open(files[3]) as picture:
        again = picture.convert("L").resize((picture.width // 2, picture.height // 2))
    index.add("again", "someone", "test", encoded(again))
    assert index.near()["examples"] == [sorted(["again", files[3].stem])]
