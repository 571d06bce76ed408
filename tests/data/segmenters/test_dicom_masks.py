"""Organs of SEG and RTSTRUCT objects as a segmenter; dcmqi's liver against its NRRD."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import boxes
from medclm.data.display import Display
from medclm.data.records import Source
from medclm.data.segmenters import SegmenterInput, make_segmenter
from medclm.errors import UsageError
from tests.data.readers import dicom_files as files
from tests.data.readers.dicom_files import rows_of
from tests.data.readers.test_dicom_seg import segment, segmentation
from tests.data.readers.test_rtstruct import SQUARE, contour, structure_set


def picture(path, display: str = "", size_hw=(files.ROWS, files.COLS), volume: str = "") -> SegmenterInput:
    turned = Display.parse(display)
    shown = turned.apply(np.zeros(size_hw, np.uint8))
    source = Source(uri=str(path), reader="x", volume=volume)
    return SegmenterInput("a", shown, shown.astype(np.float32), source, turned)


@pytest.fixture
def case(tmp_path):
    slices = files.write_series(tmp_path / "images")
    drawn = np.zeros((3, files.ROWS, files.COLS), np.uint8)
    drawn[1] = rows_of(".##.. ..#..")
    organ = segment(1, "Liver", "Liver", category="Anatomical Structure")
    files.save(segmentation(slices, drawn, [organ]), tmp_path / "objects" / "seg.dcm")
    spleen = {"Spleen": ("ORGAN", [contour(2, SQUARE)])}
    files.save(structure_set(spleen), tmp_path / "objects" / "rs.dcm")
    return tmp_path


def test_organs_of_both_kinds_on_their_slices(case):
    segmenter = make_segmenter(f"masks:{case / 'objects'}")
    folder = case / "images" / "study" / "series"
    found = segmenter([picture(folder / f"ct{k}.dcm", volume=str(folder)) for k in range(3)])
    assert [sorted(masks) for masks in found] == [[], ["liver"], ["spleen"]]
    assert np.array_equal(found[1]["liver"], rows_of(".##.. ..#.."))
    assert np.array_equal(found[2]["spleen"], rows_of("..... ..### ..### ..###"))


def test_masks_are_turned_as_the_picture_is(case):
    path = case / "images" / "study" / "series" / "ct1.dcm"
    (found,) = make_segmenter(f"masks:{case / 'objects' / 'seg.dcm'}")([picture(path, "transpose+flip-cols")])
    assert np.array_equal(found["liver"], rows_of(".##.. ..#..").T[:, ::-1])


def test_pictures_of_another_series_have_no_organs(case):
    other = files.ct_slice(1, series="1.9")
    other.FrameOfReferenceUID, other.SOPInstanceUID = "1.9.9", "1.9.1"
    path = files.save(other, case / "other" / "x.dcm")
    assert make_segmenter(f"masks:{case / 'objects'}")([picture(path)]) == [{}]


def test_a_folder_without_objects_is_an_error(case):
    with pytest.raises(UsageError, match="no organ masks"):
        make_segmenter(f"masks:{case / 'images'}")([picture(case / "images" / "study" / "series" / "ct1.dcm")])


def test_the_liver_of_dcmqi_equals_its_nrrd(real_data):
    root = real_data("dcmqi") / "segmentations"
    pictures = [picture(root / "ct-3slice" / f"0{k}.dcm", size_hw=(512, 512)) for k in (1, 2, 3)]
    by_dicom = make_segmenter(f"masks:{root / 'liver.dcm'}")(pictures)
    assert [sorted(masks) for masks in by_dicom] == [["liver"]] * 3
    import nrrd

    values, _ = nrrd.read(str(root / "liver_seg.nrrd"))
    truth = [boxes.encode_rle(values[:, :, k].T > 0) for k in range(3)]
    assert sorted(boxes.encode_rle(masks["liver"]) for masks in by_dicom) == sorted(truth)
