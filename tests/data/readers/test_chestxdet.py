"""The ChestX-Det reader."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medclm.data import boxes
from medclm.data.readers.chestxdet import read_chestxdet
from medclm.errors import MedclmError
from tests.data.readers.pictures import boxes_of, reasons_of, write_png

SQUARE = [[2, 3], [6, 3], [6, 8], [2, 8]]
ENTRY = {"file_name": "36199.png", "syms": ["Effusion"], "boxes": [[2, 3, 6, 8]], "polygons": [SQUARE]}
EMPTY = {"file_name": "00000042_006.png", "syms": [], "boxes": [], "polygons": []}


@pytest.fixture
def read(tmp_path):
    """Write a list beside two pictures of 20 x 10 and read it."""

    def _read(*entries):
        for name in ("36199", "00000042_006"):
            write_png(tmp_path / "images" / f"{name}.png", (10, 20))
        (tmp_path / "a.json").write_text(json.dumps(entries))
        return read_chestxdet(str(tmp_path / "images"), str(tmp_path / "a.json"), "chestx-det")

    return _read


def test_boxes_and_masks(read):
    result = read(ENTRY, EMPTY)
    assert boxes_of(result) == {"36199": [("Effusion", (2, 3, 6, 8))], "00000042_006": []}
    (finding,) = result.records[0].findings
    mask = np.zeros((10, 20), bool)
    mask[3:8, 2:6] = True
    assert np.array_equal(boxes.decode_rle(finding.mask_rle, (10, 20)), mask)
    assert (finding.id, finding.label) == ("36199:0", "effusion")
    assert [r.patient_id for r in result.records] == ["36199", "00000042"]
    assert {(r.modality, r.plane) for r in result.records} == {("DX", "frontal")}
    assert (result.rejects, result.incomplete) == ([], frozenset())


def test_chestx_det10_has_no_polygons(read):
    entry = {"file_name": "36199.png", "syms": ["Diffuse Nodule"], "boxes": [[0, 0, 20, 10]]}
    (finding,) = read(entry).records[0].findings
    assert (finding.label, finding.box_xyxy, finding.mask_rle) == ("nodule", (0, 0, 20, 10), None)


@pytest.mark.parametrize(
    ("sym", "box", "polygon", "reason"),
    [
        ("Mass", [1, 2, 3], SQUARE, "bad-box"),
        ("Mass", [1, 2, 3, None], SQUARE, "bad-box"),
        ("Mass", [3, 2, 3, 4], SQUARE, "bad-box"),
        ("Mass", [3, 2, 30, 4], SQUARE, "box-outside"),
        ("Mass", [1, 2, 3, 4], [[1, 2], [3, 4]], "bad-segmentation"),
        ("Mass", [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], "bad-segmentation"),
        ("Mass", [1, 2, 3, 4], [[1, 2], [3, 4], [5]], "bad-segmentation"),
        (None, [1, 2, 3, 4], SQUARE, "bad-annotation"),
        (" ", [1, 2, 3, 4], SQUARE, "bad-annotation"),
    ],
)
def test_a_bad_finding_is_set_aside(read, sym, box, polygon, reason):
    result = read({**ENTRY, "syms": ["Effusion", sym], "boxes": [[2, 3, 6, 8], box], "polygons": [SQUARE, polygon]})
    assert boxes_of(result) == {"36199": [("Effusion", (2, 3, 6, 8))]}
    assert reasons_of(result) == [(reason, "36199", "36199:1")]
    assert result.rejects[0].where == "a.json: [0].boxes[1]"
    assert result.incomplete == {"36199"}


@pytest.mark.parametrize(
    "entry",
    [3, {}, {**ENTRY, "file_name": ""}, {**ENTRY, "syms": []}, {**ENTRY, "boxes": None}, {**ENTRY, "polygons": [1, 2]}],
)
def test_a_bad_entry_is_set_aside(read, entry):
    result = read(EMPTY, entry)
    assert list(boxes_of(result)) == ["00000042_006"]
    assert [(r.reason, r.where) for r in result.rejects] == [("bad-image-entry", "a.json: [1]")]


def test_missing_and_unreadable_images(read, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(b"")
    result = read({**ENTRY, "file_name": "x.png"}, {**ENTRY, "file_name": "y.png"}, EMPTY)
    assert list(boxes_of(result)) == ["00000042_006"]
    assert reasons_of(result) == [("missing-image", "y", None), ("unreadable-image", "x", None)]


def test_a_second_entry_of_an_image(read):
    other = {**ENTRY, "boxes": [[0, 0, 6, 8]]}
    same, different = read(ENTRY, ENTRY), read(ENTRY, other)
    assert boxes_of(same) == boxes_of(different) == {"36199": [("Effusion", (2, 3, 6, 8))]}
    assert reasons_of(same) == reasons_of(different) == [("duplicate-image", "36199", None)]
    assert (same.incomplete, different.incomplete) == (frozenset(), {"36199"})


def test_another_file(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(MedclmError, match="not a ChestX-Det list"):
        read_chestxdet(str(tmp_path), str(tmp_path / "a.json"), "x")
