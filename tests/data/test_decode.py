"""From a stored picture to the displayed one: pixels, boxes, masks, spacing and the prior turn together."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import boxes, images
from medclm.data.decode import decode_record
from medclm.data.display import display_of
from medclm.data.records import Finding, Organ, Prior, Record, Source, Spacing
from tests.data.dicom_bytes import dicom

PIXELS = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
MIRRORED, TRANSPOSED = [-1, 0, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0]


def finding(box_xyxy, mask=None, n=1) -> Finding:
    rle = None if mask is None else boxes.encode_rle(np.array(mask, bool))
    return Finding(id=f"a:{n}", label="nodule", label_raw="n", box_xyxy=box_xyxy, mask_rle=rle)


def record_of(path, **more) -> Record:
    source = Source(uri=str(path), reader="coco")
    return Record(image_id="a", patient_id="p", dataset="toy", source=source, **more)


@pytest.fixture
def stored(tmp_path):
    def make(name: str, cosines, pixels=PIXELS, **header):
        path = tmp_path / name
        path.write_bytes(dicom(pixels, ImageOrientationPatient=cosines, PixelSpacing=[0.5, 2], **header))
        return path

    return make


def test_columns_that_run_to_the_right_are_mirrored(stored):
    found = finding((0, 0, 1, 2), [[1, 0, 0], [1, 0, 0]])
    liver = Organ(name="liver", box_xyxy=(2, 0, 3, 1), area_px=1, rle=boxes.encode_rle(np.eye(2, 3, 2) > 0), source="s")
    row = decode_record(record_of(stored("a", MIRRORED), findings=(found,), organs=(liver,)), "auto")
    assert row.reject is None
    assert row.shown.tolist() == [[30, 20, 10], [60, 50, 40]]
    assert row.values.tolist() == [[30, 20, 10], [60, 50, 40]]
    assert row.values.flags["C_CONTIGUOUS"]
    assert row.record.source.display == "flip-cols"
    assert row.record.findings[0].box_xyxy == (2, 0, 3, 2)
    assert boxes.decode_rle(row.record.findings[0].mask_rle, (2, 3)).tolist() == [[0, 0, 1], [0, 0, 1]]
    assert row.record.organs[0].box_xyxy == (0, 0, 1, 1)
    assert boxes.decode_rle(row.record.organs[0].rle, (2, 3)).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert row.record.spacing_mm == Spacing(row=0.5, col=2)


def test_a_transposed_picture_is_turned_with_its_spacing(stored):
    found = finding((2, 0, 3, 1))
    row = decode_record(record_of(stored("a", TRANSPOSED), findings=(found,)), "auto")
    assert row.shown.tolist() == [[10, 40], [20, 50], [30, 60]]
    assert row.values.tolist() == [[10, 40], [20, 50], [30, 60]]
    assert (row.record.source.display, row.record.plane) == ("transpose", "axial")
    assert row.record.findings[0].box_xyxy == (0, 2, 1, 3)
    assert row.record.spacing_mm == Spacing(row=2, col=0.5)


def test_boxes_are_checked_against_the_stored_size(stored):
    """x up to 3 is inside the stored 2 x 3 picture and would leave the displayed one; y up to 3 the other way round."""
    inside, outside = finding((0, 0, 3, 1)), finding((0, 0, 1, 3.5), n=2)
    row = decode_record(record_of(stored("a", TRANSPOSED), findings=(inside, outside)), "auto")
    assert [found.box_xyxy for found in row.record.findings] == [(0, 0, 1, 3)]
    assert [(reject.finding_id, reject.reason) for reject in row.lost] == [("a:2", "box-outside")]


def test_a_mask_of_another_size_is_set_aside(stored):
    wrong = finding((0, 0, 1, 1), np.ones((4, 4)))
    row = decode_record(record_of(stored("a", MIRRORED), findings=(wrong,)), "auto")
    assert [(reject.finding_id, reject.reason) for reject in row.lost] == [("a:1", "bad-segmentation")]
    organ = Organ(name="liver", box_xyxy=(0, 0, 1, 1), area_px=1, rle=boxes.encode_rle(np.ones((4, 4))), source="s")
    row = decode_record(record_of(stored("b", MIRRORED), organs=(organ,)), "auto")
    assert row.reject.reason == "size-mismatch"


def test_the_prior_is_turned_as_its_own_file_says(stored):
    prior = Prior(image_id="b", uri=str(stored("b", TRANSPOSED)), findings=(finding((2, 0, 3, 1)),))
    row = decode_record(record_of(stored("a", [1, 0, 0, 0, 1, 0]), prior=prior), "auto")
    assert (row.record.source.display, row.shown.tolist()) == ("", PIXELS.tolist())
    found = row.record.prior
    assert images.decode_png(found.image.bytes).tolist() == [[10, 40], [20, 50], [30, 60]]
    assert (found.image.width, found.image.height, found.spacing_mm) == (2, 3, Spacing(row=2, col=0.5))
    assert found.findings[0].box_xyxy == (0, 2, 1, 3)


def test_inverted_values_are_turned_too(stored):
    path = stored("a", MIRRORED, PhotometricInterpretation="MONOCHROME1")
    row = decode_record(record_of(path), "auto")
    assert row.values.tolist() == [[-30, -20, -10], [-60, -50, -40]]
    assert row.shown.tolist() == [[225, 235, 245], [195, 205, 215]]


def test_a_picture_that_does_not_say_how_it_lies_is_left(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(images.encode_png(PIXELS))
    row = decode_record(record_of(path, findings=(finding((0, 0, 1, 2)),)), "auto")
    assert (row.shown.tolist(), row.record.source.display) == (PIXELS.tolist(), "")
    assert row.record.findings[0].box_xyxy == (0, 0, 1, 2)


@pytest.mark.parametrize("cosines", [[1, 0, 0, 0, 1, 0], MIRRORED, TRANSPOSED, [0, -1, 0, -1, 0, 0]])
def test_sides_are_right_at_the_end(stored, cosines):
    """One patient, stored four ways: a lesion in the left lung is on the right of the picture, whatever the way.

    The segmenter sees the displayed picture; here the lungs are told apart by brightness.
    """
    shown = np.full((20, 24), 10, np.uint8)
    shown[4:16, 2:10], shown[4:16, 14:22], shown[6:9, 15:18] = 50, 90, 200  # right lung, left lung, lesion
    display = display_of(tuple(cosines))
    pixels = np.ascontiguousarray(display.undo(shown))
    lesion = boxes.box_from_mask(pixels == 200)
    row = decode_record(record_of(stored("a", cosines, pixels), findings=(finding(lesion, pixels == 200),)), "auto")
    assert np.array_equal(row.shown, shown)
    assert row.record.findings[0].box_xyxy == (15, 6, 18, 9)
    left_lung = row.values >= 90
    assert boxes.box_coverage(row.record.findings[0].box_xyxy, left_lung) == 1
    assert boxes.box_from_mask(left_lung)[0] > shown.shape[1] / 2
    assert row.record.source.display == display.text
