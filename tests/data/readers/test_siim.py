"""The SIIM-ACR reader."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data import boxes
from medclm.data.readers.base import Refused
from medclm.data.readers.siim import read_siim, rle_of
from medclm.errors import MedclmError
from tests.data.readers.pictures import boxes_of, reasons_of, write_png

UID = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819"


def painted(encoded, size_hw):
    """The code painted pixel by pixel, as the challenge describes it: gap, run, gap, run, down the columns."""
    flat = np.zeros(size_hw[0] * size_hw[1], bool)
    position = 0
    numbers = [int(part) for part in encoded.split()]
    for gap, run in zip(numbers[::2], numbers[1::2], strict=True):
        position += gap
        flat[position : position + run] = True
        position += run
    return flat.reshape(size_hw[::-1]).T


@pytest.fixture
def siim(tmp_path):
    """Write a table beside three pictures of 4 x 6 and read it."""

    def _read(*rows, header="ImageId, EncodedPixels", **options):
        for name in (f"x/y/{UID}", "a", "b"):
            write_png(tmp_path / "images" / f"{name}.png", (4, 6))
        (tmp_path / "rle.csv").write_text("\n".join([header, *rows]))
        return read_siim(str(tmp_path / "images"), str(tmp_path / "rle.csv"), "siim", **options)

    return _read


@pytest.mark.parametrize("options", [{}, {"size_hw": (4, 6)}, {"size_hw": [4, 6]}])
def test_masks_and_boxes(siim, options):
    # columns of 4: leave 5, set 2 (column 1, rows 1 and 2), leave 2, set 2 (column 2, rows 1 and 2)
    result = siim(f"{UID}, 5 2 2 2", "a, -1", **options)
    assert boxes_of(result) == {UID: [("Pneumothorax", (1, 1, 3, 3))], "a": []}
    (finding,) = result.records[0].findings
    mask = np.zeros((4, 6), bool)
    mask[1:3, 1:3] = True
    assert np.array_equal(boxes.decode_rle(finding.mask_rle, (4, 6)), mask)
    assert finding.label == "pneumothorax"
    assert (result.rejects, result.incomplete) == ([], frozenset())


def test_several_masks_of_one_image(siim):
    result = siim("a, 0 1", "a, 23 1", "a, 0 1")
    assert boxes_of(result) == {"a": [("Pneumothorax", (0, 0, 1, 1)), ("Pneumothorax", (5, 3, 6, 4))]}
    assert reasons_of(result) == [("duplicate-annotation", "a", "a:3")]
    assert result.incomplete == frozenset()


@pytest.mark.parametrize("encoded", ["5", "5 2 2", "5 0", "-5 2", "20 5", "a b", "5 2.5", "99999999999999999999 1"])
def test_a_bad_code_is_set_aside(siim, encoded):
    result = siim("a, 5 2", f"a, {encoded}")
    assert reasons_of(result) == [("bad-segmentation", "a", "a:2")]
    assert (len(result.records[0].findings), result.incomplete) == (1, {"a"})


def test_blank_codes_and_missing_images(siim):
    result = siim("a,", "b", "c, 5 2")
    assert boxes_of(result) == {"a": [], "b": []}
    assert reasons_of(result) == [
        ("missing-image", "c", None),
        ("bad-segmentation", "a", "a:1"),
        ("bad-row", "b", "b:2"),
    ]
    assert result.incomplete == {"a", "b"}


def test_an_image_without_a_header_is_set_aside(siim, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "d.png").write_bytes(b"no picture")
    result = siim("d, 5 2", "a, 5 2")
    assert (list(boxes_of(result)), reasons_of(result)) == (["a"], [("unreadable-image", "d", None)])


def test_bad_usage(siim):
    with pytest.raises(MedclmError, match="height and width"):
        siim(size_hw=(4, 0))
    with pytest.raises(MedclmError, match="lacks the column 'EncodedPixels'"):
        siim(header="ImageId,Pixels")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_code_paints_the_same_mask_as_pixel_by_pixel(pairs):
    encoded, size_hw = " ".join(f"{gap} {run}" for gap, run in pairs), (7, 13)
    if sum(map(sum, pairs)) > 7 * 13:
        with pytest.raises(Refused):
            rle_of(encoded, size_hw)
    else:
        assert np.array_equal(boxes.decode_rle(rle_of(encoded, size_hw), size_hw), painted(encoded, size_hw))
