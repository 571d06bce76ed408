"""DICOM series as volumes: order and places by hand, one clear error a fault, and an enhanced file."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data.volume_series import find_series, read_series, read_series_header
from medclm.errors import MedclmError
from tests.data.readers import dicom_files as files


def series(folder, *numbers: int) -> list:
    """Slices whose names are not in their order; the datasets, not yet written anew."""
    slices = [files.ct_slice(k) for k in numbers]
    for n, ds in enumerate(slices):
        files.save(ds, folder / f"{9 - n}.dcm")
    return slices


def test_slices_are_sorted_along_their_normal(tmp_path):
    series(tmp_path, 1, 0, 2)
    (tmp_path / "notes.txt").write_text("no slice")
    files.save(files.ct_slice(7), tmp_path / "below" / "other.dcm")
    volume = read_series(str(tmp_path))
    assert volume.stored[:, 0, 0].tolist() == [-1024, -1023, -1022]
    assert [where.uri[-5:] for where in volume.slices] == ["8.dcm", "9.dcm", "7.dcm"]
    assert volume.grid.affine.tolist() == [[0.5, 0, 0, -10], [0, 2, 0, 20], [0, 0, 5, 100], [0, 0, 0, 1]]
    assert (volume.modality, volume.grid.plane, volume.grid.size_ijk) == ("CT", "axial", (10, 8, 3))
    header = read_series_header(str(tmp_path))
    assert (header.patient_id, header.study_id, header.series_uid) == ("P-1", files.STUDY, files.SERIES)


def test_a_turned_series_is_sorted_along_its_own_normal(tmp_path):
    for ds, name in zip(series(tmp_path, 0, 1), ("9.dcm", "8.dcm"), strict=True):
        ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]  # the normal is -z
        files.save(ds, tmp_path / name)
    volume = read_series(str(tmp_path))
    assert volume.stored[:, 0, 0].tolist() == [-1023, -1024]
    assert volume.grid.affine[:3, 2].tolist() == [0, 0, -5]
    assert volume.grid.display.text == "flip-cols"


def change(name: str, value: object):
    return lambda ds: setattr(ds, name, value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (change("SeriesInstanceUID", "1.2.77"), "slices of several series"),
        (change("Rows", 4), "slices of several sizes"),
        (change("ImagePositionPatient", [-10, 20, 105]), "in one place"),
        (change("ImagePositionPatient", [-10, 20, 115]), "not equally far apart"),
        (change("ImagePositionPatient", [-3, 20, 110]), "not equally far apart"),
        (change("ImageOrientationPatient", [0, 1, 0, 0, 0, -1]), "not parallel"),
        (change("PixelSpacing", [2, 0.6]), "pixel spacing"),
        (lambda ds: delattr(ds, "ImagePositionPatient"), "does not say where it lies"),
    ],
)
def test_faults_of_a_series(tmp_path, fault, message):
    last = series(tmp_path, 0, 1, 2)[2]
    fault(last)
    files.save(last, tmp_path / "7.dcm")
    with pytest.raises(MedclmError, match=message) as caught:
        read_series_header(str(tmp_path))
    assert caught.value.details["where"] == str(tmp_path)
    assert "one series a folder" in caught.value.details["remedy"]
    assert "1.2.77" not in str(caught.value), "rejects are published, UIDs are not"


def test_steps_are_named(tmp_path):
    series(tmp_path, 0, 1, 3)
    with pytest.raises(MedclmError) as caught:
        read_series_header(str(tmp_path))
    assert caught.value.details["got"] == "steps of 5.00 to 10.00 mm"


def test_a_folder_without_slices(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert find_series(str(tmp_path)) is None
    with pytest.raises(MedclmError, match="no volume"):
        read_series(str(tmp_path))


def test_one_slice_and_a_damaged_one(tmp_path):
    series(tmp_path, 0)
    with pytest.raises(MedclmError, match="no volume"):
        read_series_header(str(tmp_path))
    (tmp_path / "8.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    with pytest.raises(MedclmError, match="damaged"):
        read_series_header(str(tmp_path))


def test_the_frames_of_an_enhanced_file_are_slices(tmp_path):
    ds = files.ct_slice(0)
    ds.NumberOfFrames = 2
    ds.PixelData = np.repeat(np.array([3, 4], np.uint16), files.ROWS * files.COLS).tobytes()
    places = [files.item(ImagePositionPatient=[-10, 20, z]) for z in (105, 100)]
    ds.PerFrameFunctionalGroupsSequence = [files.item(PlanePositionSequence=[place]) for place in places]
    path = files.save(ds, tmp_path / "enhanced.dcm")
    volume = read_series(str(tmp_path))
    assert [(where.uri, where.frame) for where in volume.slices] == [(path, 1), (path, 0)]
    assert volume.stored[:, 0, 0].tolist() == [4 - 1024, 3 - 1024]


def test_sheared_slices_keep_their_places(tmp_path):
    """A tilted gantry: the slices are axial, and each lies 1 mm further to the back."""
    for k, ds in enumerate(series(tmp_path, 0, 1, 2)):
        ds.ImagePositionPatient = [-10, 20 + k, 100 + 5 * k]
        files.save(ds, tmp_path / f"{9 - k}.dcm")
    assert read_series_header(str(tmp_path)).grid.to_patient([[0, 0, 2]])[0].tolist() == [-10, 22, 110]
