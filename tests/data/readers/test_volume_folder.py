"""Which volumes a folder holds, what they are called and whose they are."""

from __future__ import annotations

import pytest

from medclm.data.readers.volume_folder import VolumeFolder, volume_name
from medclm.errors import UsageError
from tests.data import volume_arrays as arrays
from tests.data.readers import dicom_files as files


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b.nii.gz", "b"), ("b.SEG.nrrd", "b"), ("1.2.3.mhd", "1.2.3"), ("b.c.nii", "b.c"), ("series", "series")],
)
def test_names(path, name):
    assert volume_name(path) == name


def test_files_and_series(tmp_path):
    arrays.nifti(tmp_path / "b.nii.gz")
    arrays.metaimage(tmp_path / "deep" / "a.mhd")
    for k in range(3):
        files.save(files.ct_slice(k), tmp_path / "scan" / f"1.2.{k}")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "LICENSE").write_text("without an ending, as slices often are")
    found = list(VolumeFolder(str(tmp_path), "MR"))
    assert [(v.name, v.patient_id, v.modality, v.study_id, len(v.slices)) for v in found] == [
        ("b", "b", "MR", "", 2),
        ("a", "a", "MR", "", 2),
        ("scan", "P-1", "CT", files.STUDY, 3),
    ]
    record = found[2].record(1, "toy", "r", (), ())
    assert (record.image_id, record.source.volume) == ("scan-0001", str(tmp_path / "scan"))
    assert (record.source.uri, record.source.frame) == (str(tmp_path / "scan" / "1.2.1"), None)
    record = found[0].record(1, "toy", "r", (), ())
    assert (record.source.uri, record.source.frame) == (str(tmp_path / "b.nii.gz"), 1)
    assert record.source.volume == record.source.uri
    assert (record.plane, record.spacing_mm.row, record.spacing_mm.col) == ("axial", 2, 0.5)


def test_one_name_in_several_folders_is_several_patients(tmp_path):
    for name in ("p1/t1.nii", "p1/t2.nii", "p2/t1.nii"):
        arrays.nifti(tmp_path / name)
    found = list(VolumeFolder(str(tmp_path)))
    assert [(v.name, v.patient_id, v.folder) for v in found] == [
        ("p1-t1", "p1", "p1"),
        ("t2", "t2", "p1"),
        ("p2-t1", "p2", "p2"),
    ]


def test_what_cannot_be_read_is_set_aside(tmp_path):
    arrays.nifti(tmp_path / "good.nii")
    (tmp_path / "bad.nii").write_bytes(b"x")
    files.save(files.ct_slice(0), tmp_path / "one" / "0.dcm")
    folder = VolumeFolder(str(tmp_path))
    assert [volume.name for volume in folder] == ["good"]
    assert [(r.image_id, r.where, r.reason) for r in folder.rejects] == [
        ("bad", "bad.nii", "unreadable-image"),
        ("one", "one", "unreadable-image"),
    ]
    with pytest.raises(UsageError, match="no such image folder"):
        VolumeFolder(str(tmp_path / "none"))


def test_names_that_are_no_images(tmp_path):
    arrays.nifti(tmp_path / "a.nii")
    arrays.nifti(tmp_path / "a_seg.nii")
    assert [volume.name for volume in VolumeFolder(str(tmp_path), without="_seg")] == ["a"]
