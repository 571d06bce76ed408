"""DICOM series as volumes: index to position worked out by hand, and the stack against nibabel's view of it."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data.segmenters.series import load_volume, plane_of_file
from medclm.errors import MedclmError
from tests.data.readers import dicom_files as files


def test_slices_are_stacked_along_the_normal_in_ras(tmp_path):
    for k, name in ((2, "a"), (0, "b"), (1, "c")):  # names are not in the order of the slices
        files.save(files.ct_slice(k), tmp_path / f"{name}.dcm")
    (tmp_path / "notes.txt").write_text("no slice")
    image = load_volume(str(tmp_path))
    values, affine = np.asarray(image.dataobj), image.affine
    assert values.shape == (files.COLS, files.ROWS, 3)
    assert [float(values[0, 0, k]) for k in range(3)] == [-1024, -1023, -1022], "slice k holds k; intercept -1024"
    assert affine.tolist() == [[-0.5, 0, 0, 10], [0, -2, 0, -20], [0, 0, 5, 100], [0, 0, 0, 1]]
    assert image.shape == (10, 8, 3)
    assert image.header.get_zooms() == (0.5, 2.0, 5.0)


def test_a_missing_slice_is_an_error(tmp_path):
    for k in (0, 1, 3):
        files.save(files.ct_slice(k), tmp_path / f"{k}.dcm")
    with pytest.raises(MedclmError, match="not equally far apart") as caught:
        load_volume(str(tmp_path))
    assert caught.value.details["got"] == "steps of 5.00 to 10.00 mm"


def test_one_slice_is_no_volume(tmp_path):
    files.save(files.ct_slice(0), tmp_path / "0.dcm")
    with pytest.raises(MedclmError, match="no volume"):
        load_volume(str(tmp_path))


def test_the_plane_of_a_file(tmp_path):
    plane = plane_of_file(files.save(files.ct_slice(2), tmp_path / "2.dcm"))
    assert plane.position_mm == (-10, 20, 110)


def test_a_real_series(real_data):
    image = load_volume(str(real_data("totalsegmentator-ref") / "example_ct_dicom"))
    assert image.shape == (512, 512, 20)
    assert image.header.get_zooms() == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert np.asarray(image.dataobj).min() == -1024
