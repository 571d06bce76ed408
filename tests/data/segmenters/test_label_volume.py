"""Label volumes on slices by their affines: voxels placed by hand, NRRD of 3D Slicer, real CT with its labels."""

from __future__ import annotations

import nibabel
import nrrd
import numpy as np
import pytest

from medclm.data.images import read_picture
from medclm.data.records import Source
from medclm.data.segmenters.label_volume import LabelVolume, load_labels, points_of
from medclm.errors import MedclmError, UsageError
from tests.data.readers import dicom_files as files

VALUES = np.zeros((4, 3, 2), np.int32)
VALUES[3, 0, 1], VALUES[0, 2, 1], VALUES[1, 1, 0] = 5, 1, 9


def test_the_nearest_voxel_decides_and_outside_there_is_nothing():
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (10, 20, 30)  # voxel (3, 0, 1) is at (16, 20, 31)
    volume = LabelVolume(VALUES, affine, {5: "liver", 1: "spleen"})
    points = np.array([[[16.0, 20, 31], [16.9, 20.4, 30.6], [17.1, 20, 31], [10, 22, 31], [12, 21, 30]]])
    masks = volume.masks_at(points)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "liver": [[True, True, False, False, False]],
        "spleen": [[False, False, False, True, False]],
    }, "value 9 is no organ, and half a voxel outside is outside"


def test_two_labels_of_one_organ_are_united():
    volume = LabelVolume(VALUES, np.eye(4), {5: "liver", 1: "liver"})
    assert volume.masks_at(np.array([[[3.0, 0, 1], [0, 2, 1], [0, 0, 0]]]))["liver"].tolist() == [[True, True, False]]


def test_points_of_a_dicom_slice_are_its_pixel_centres_in_ras(tmp_path):
    path = files.save(files.ct_slice(1), tmp_path / "ct.dcm")
    points = points_of(Source(uri=path, reader="x"), (files.ROWS, files.COLS))
    assert points.shape == (8, 10, 3)
    assert points[0, 0].tolist() == [10, -20, 105], "DICOM's left and back are NIfTI's negative axes"
    assert points[2, 4].tolist() == [10 - 4 * 0.5, -20 - 2 * 2.0, 105]


def test_points_of_a_nifti_slice_follow_its_affine(tmp_path):
    affine = np.array([[-1.0, 0, 0, 9], [0, 2, 0, 1], [0, 0, 3, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), affine), tmp_path / "ct.nii.gz")
    points = points_of(Source(uri=str(tmp_path / "ct.nii.gz"), reader="x", frame=1), (3, 4))
    assert points[2, 3].tolist() == [9 - 3, 1 + 4, 3]


def test_a_picture_without_a_place_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not DICOM, so it has no plane")
    with pytest.raises(MedclmError, match="does not say where it lies"):
        points_of(Source(uri=str(tmp_path / "a.png"), reader="x"), (2, 2))


def test_names_come_from_a_list_or_from_the_file(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VALUES, np.eye(4)), tmp_path / "seg.nii.gz")
    path = str(tmp_path / "seg.nii.gz")
    with pytest.raises(MedclmError, match="does not say what its values mean") as caught:
        load_labels(path)
    assert f"masks:{path}#totalsegmentator_ct" in str(caught.value)
    assert load_labels(path, "totalsegmentator_ct")[0].organs == {1: "spleen", 5: "liver", 9: "left_adrenal_gland"}
    with pytest.raises(UsageError, match="no such list"):
        load_labels(path, "totalsegmentator")


def test_an_nrrd_of_slicer_has_its_names_and_its_space(tmp_path):
    header = {
        "space": "left-posterior-superior", "space directions": np.diag([2.0, 1.0, 1.0]), "space origin": [10, 20, 30],
        "Segment0_Name": "Liver", "Segment0_LabelValue": "5",
        "Segment1_Name": "kidney_left", "Segment1_LabelValue": "9",
    }  # fmt: skip
    nrrd.write(str(tmp_path / "seg.nrrd"), VALUES, header)
    (volume,) = load_labels(str(tmp_path / "seg.nrrd"))
    assert volume.organs == {5: "liver", 9: "left_kidney"}
    points = points_of(Source(uri=str(tmp_path / "seg.nrrd"), reader="x", frame=1), (3, 4))
    assert points[2, 3].tolist() == [-10 - 3 * 2, -20 - 2, 31]
    assert volume.affine.tolist() == [[-2, 0, 0, -10], [0, -1, 0, -20], [0, 0, 1, 30], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("values", "problem"), [(np.full((2, 2, 2), 0.5), "are no labels"), (np.zeros((2, 2, 2, 3)), "not one volume")]
)
def test_what_is_no_label_volume_is_an_error(tmp_path, values, problem):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), tmp_path / "seg.nii.gz")
    with pytest.raises(MedclmError, match=problem):
        load_labels(str(tmp_path / "seg.nii.gz"), "totalsegmentator_ct")


def test_real_labels_lie_on_the_organs_of_the_real_ct(real_data):
    root = real_data("totalsegmentator-ref")
    (volume,) = load_labels(str(root / "example_seg_dicom.nii.gz"))  # the label table is in the file
    path = sorted((root / "example_ct_dicom").iterdir())[10]
    masks = volume.masks_at(points_of(Source(uri=str(path), reader="x"), (512, 512)))
    hounsfield = read_picture(path.read_bytes(), str(path)).values
    assert sum(mask.sum() for mask in masks.values()) == 37818, "as in slice 9 of the label volume"
    means = {name: hounsfield[mask].mean() for name, mask in masks.items()}
    assert 70 < means["liver"] < 110
    assert means["vertebra_t12"] > 150
    columns = {name: np.nonzero(mask)[1].mean() for name, mask in masks.items()}
    assert columns["liver"] < columns["aorta"] < columns["spleen"], "stored and displayed alike: right is on the left"
    assert columns["right_rib_9"] < 256 < columns["left_rib_9"]
