"""Cached masks: what makes two pictures different, and that a hit never reaches the network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medclm import storage
from medclm.data.display import Display
from medclm.data.records import Source
from medclm.data.segmenters import SegmenterInput, make_segmenter
from medclm.data.segmenters.cache import CachedSegmenter, picture_key
from medclm.errors import MedclmError


class Bright:
    """Bright is heart; counts what it was asked."""

    name = "bright@1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        self.asked += [image.image_id for image in images]
        return [{"heart": image.shown > 99} if (image.shown > 99).any() else {} for image in images]


def picture(value: int, image_id: str = "a", sha256: str = "ab", frame: int | None = None) -> SegmenterInput:
    shown = np.zeros((3, 5), np.uint8)
    shown[1, 2:] = value
    source = Source(uri="x.png", reader="x", sha256=sha256, frame=frame)
    return SegmenterInput(image_id, shown, shown.astype(np.float32), source, Display())


def test_a_hit_never_calls_the_network(tmp_path):
    network = Bright()
    cached = CachedSegmenter(network, str(tmp_path))
    assert cached.name == "bright@1"
    first = cached([picture(200, "a"), picture(100, "b", frame=1), picture(9, "dark", frame=2)])
    again = CachedSegmenter(network, str(tmp_path))([picture(200, "a"), picture(300 % 256, "new"), picture(9, frame=2)])
    assert network.asked == ["a", "b", "dark", "new"]
    assert first[0]["heart"].dtype == bool
    assert first[0]["heart"].tolist() == again[0]["heart"].tolist() == [[0] * 5, [0, 0, 1, 1, 1], [0] * 5]
    assert first[2] == again[2] == {}, "a picture without organs is known too"
    assert cached([]) == []


@pytest.mark.parametrize(
    "other",
    [
        picture(200, sha256="cd"),
        picture(201),
        picture(200, frame=1),
        dataclasses.replace(picture(200), display=Display(flip_cols=True)),
        dataclasses.replace(picture(200), shown=picture(200).shown.T),
        dataclasses.replace(picture(200), source=Source(uri="x.png", reader="x", sha256="ab", volume="v")),
    ],
    ids=["file", "pixels", "frame", "display", "shape", "volume"],
)
def test_what_makes_another_picture(other):
    assert picture_key(picture(200)) == picture_key(picture(200, image_id="other name"))
    assert picture_key(other) != picture_key(picture(200))


def test_another_network_has_masks_of_its_own(tmp_path):
    network, newer = Bright(), Bright()
    newer.name = "bright@2"
    for segmenter in (network, newer):
        CachedSegmenter(segmenter, str(tmp_path))([picture(200)])
    assert network.asked == newer.asked == ["a"]
    assert len(storage.list_files(tmp_path, "**/*.json")) == 2


def test_entries_are_readable_json(tmp_path):
    cached = CachedSegmenter(Bright(), str(tmp_path))
    cached([picture(200)])
    (file,) = storage.list_files(tmp_path, "**/*.json")
    assert file == cached.address(picture(200))
    entry = storage.read_json(file)
    assert {key: entry[key] for key in ("segmenter", "size_hw")} == {"segmenter": "bright@1", "size_hw": [3, 5]}
    assert sorted(entry["organs"]) == ["heart"]


def test_a_damaged_entry_is_named(tmp_path):
    cached = CachedSegmenter(Bright(), str(tmp_path))
    cached([picture(200)])
    (file,) = storage.list_files(tmp_path, "**/*.json")
    storage.write_atomic(file, b"{")
    with pytest.raises(MedclmError, match="not JSON") as caught:
        cached([picture(200)])
    assert caught.value.details["where"] == file


def test_a_cache_may_be_remote_and_masks_of_files_are_not_cached(tmp_path):
    cached = CachedSegmenter(Bright(), "memory://masks")
    cached([picture(200)])
    assert len(storage.list_files("memory://masks", "**/*.json")) == 1
    assert not isinstance(make_segmenter(f"masks:{tmp_path}", cache="memory://masks"), CachedSegmenter)
    assert isinstance(make_segmenter("unet:phantom", "cpu", cache="memory://masks"), CachedSegmenter)
