"""Stages on batches of their own: a segmenter that runs out of memory, or refuses one picture."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from medclm.data import stages
from medclm.data.batches import pack_masks, unpack_masks
from medclm.data.segmenters import SegmenterInput
from medclm.data.stages import Segment
from medclm.errors import MedclmError
from tests.data.helpers import record


class Hungry:
    """Needs a pebibyte for more than ``most`` pictures at once, and for the picture ``glutton`` always."""

    name = "hungry"

    def __init__(self, most: int, glutton: str = "") -> None:
        self.most, self.glutton, self.sizes = most, glutton, []

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        self.sizes.append(len(images))
        if len(images) > self.most or self.glutton in [image.image_id for image in images]:
            np.empty(2**50, np.uint8)
        return [{"heart": image.shown > 9} for image in images]


def batch(*names: str) -> pa.Table:
    shown = np.arange(20, dtype=np.uint8).reshape(4, 5)
    rows = {
        "index": list(range(len(names))),
        "record": [record(image_id=name).model_dump_json(exclude={"image"}) for name in names],
        "reject": [""] * len(names),
        "shown": pa.array([shown.tobytes()] * len(names), pa.large_binary()),
        "values": pa.array([shown.astype(np.float32).tobytes()] * len(names), pa.large_binary()),
        "shape": [json.dumps(shown.shape)] * len(names),
    }
    return pa.table(rows)


def run(segmenter, *names):
    stage = Segment.__new__(Segment)
    stage.segmenter = segmenter
    return stage(batch(*names)).to_pydict()


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    hungry = Hungry(most=2)
    out = run(hungry, *"abcdefgh")
    assert hungry.sizes == [8, 4, 2, 2, 4, 2, 2]
    assert out["reject"] == [""] * 8
    assert out["organs"] == ['["heart"]'] * 8


def test_one_picture_that_never_fits_is_set_aside_and_the_others_are_kept():
    out = run(Hungry(most=9, glutton="c"), *"abcd")
    rejects = [json.loads(text)["reason"] if text else "" for text in out["reject"]]
    assert rejects == ["", "", "out-of-memory", ""]
    assert out["organs"] == ['["heart"]', '["heart"]', "[]", '["heart"]']


def test_a_segmenters_own_word_is_kept_and_a_fault_of_the_program_is_not_hidden():
    def refuses(images):
        if len(images) > 1 or images[0].image_id == "b":
            raise MedclmError("a mask does not fit")
        return [{}]

    refuses.name = "refuses"
    out = run(refuses, "a", "b")
    assert [json.loads(text)["detail"] if text else "" for text in out["reject"]] == ["", "a mask does not fit"]

    def broken(images):
        raise RuntimeError("shape mismatch")

    broken.name = "broken"
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(broken, "a", "b")


def test_stages_together_are_the_stages_one_after_another(monkeypatch):
    settled = []
    monkeypatch.setattr(stages, "settle", lambda: settled.append(True))
    makers = [
        lambda: lambda table: {"n": [2 * n for n in table["n"].to_pylist()]},
        lambda: lambda table: table.slice(1),
    ]
    both = stages.Together(makers)
    assert both(pa.table({"n": [1, 2, 3]})).to_pydict() == {"n": [4, 6]}
    assert settled == [True]


def test_masks_travel_as_bits():
    masks = {"liver": np.eye(3, 5, dtype=bool), "heart": np.ones((3, 5), bool)}
    packed = pack_masks(masks)
    assert len(packed) == 4  # 30 bits
    back = unpack_masks(["heart", "liver"], packed, (3, 5))
    assert all(np.array_equal(back[name], masks[name]) for name in masks)
    assert (pack_masks({}), unpack_masks([], b"", (3, 5))) == (b"", {})
