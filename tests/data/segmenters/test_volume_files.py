"""Label volumes that come with the data: one file for all, or one a volume by its name."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medclm.data.display import Display
from medclm.data.records import Source
from medclm.data.segmenters import SegmenterInput, make_segmenter
from medclm.data.segmenters.volume_files import volume_stem
from medclm.storage import open_fs
from tests.data import volume_arrays as arrays

LABELS = "example_seg_fast.nii.gz"
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def slice_of(path, frame: int) -> SegmenterInput:
    shown = np.zeros((3, 4), np.uint8)
    source = Source(uri=str(path), reader="nifti", frame=frame, volume=str(path))
    return SegmenterInput("a", shown, shown.astype(np.float32), source, Display())


@pytest.fixture
def case(tmp_path):
    """``ct.nii.gz`` of 4 x 3 x 2 voxels, and labels of half its width that begin at its second slice."""
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), AFFINE), tmp_path / "ct.nii.gz")
    labels = np.zeros((2, 3, 1), np.uint8)
    labels[1, 2, 0] = 5
    moved = AFFINE.copy()
    moved[:3, 3] = AFFINE[:3, :3] @ [2, 0, 1]  # voxel (0, 0, 0) is (2, 0, 1) of the CT
    (tmp_path / "labels").mkdir()
    nibabel.save(nibabel.Nifti1Image(labels, moved), tmp_path / "labels" / "ct.nii.gz")
    return tmp_path


@pytest.mark.parametrize("where", ["labels", "labels/ct.nii.gz"])
def test_labels_lie_where_their_affine_says(case, where):
    segmenter = make_segmenter(f"masks:{case / where}#totalsegmentator_ct")
    assert segmenter.name == "masks"
    first, second = segmenter([slice_of(case / "ct.nii.gz", k) for k in (0, 1)])
    assert first == {}
    assert np.argwhere(second["liver"]).tolist() == [[2, 3]], "row 2, column 3: voxel (1, 2, 0) of the labels"


def test_organs_of_all_layers_are_found(tmp_path):
    arrays.nifti(tmp_path / "ct.nii.gz")
    path = arrays.write_layers(tmp_path / "labels" / "ct.nrrd")
    (masks,) = make_segmenter(f"masks:{path}#totalsegmentator_ct")([slice_of(tmp_path / "ct.nii.gz", 0)])
    assert np.argwhere(masks["spleen"]).tolist() == [[0, 0], [0, 1]], "value 1 of either layer"


def test_a_volume_without_labels_has_no_organs(case):
    segmenter = make_segmenter(f"masks:{case / 'labels'}#totalsegmentator_ct")
    (case / "ct.nii.gz").rename(case / "other.nii.gz")
    assert segmenter([slice_of(case / "other.nii.gz", 1)]) == [{}]


def test_labels_may_lie_in_object_storage(case):
    fs, _ = open_fs("memory://labels")
    fs.put(str(case / "labels" / "ct.nii.gz"), "/labels/ct.nii.gz")
    second = make_segmenter("masks:memory://labels#totalsegmentator_ct")([slice_of(case / "ct.nii.gz", 1)])[0]
    assert np.argwhere(second["liver"]).tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("address", "name"), [("a/b.nii.gz", "b"), ("b.nii", "b"), ("b.nrrd", "b"), ("B.MHA", "B"), ("a/s1/", "s1")]
)
def test_names_of_volumes(address, name):
    assert volume_stem(address) == name


def test_real_labels_of_a_nifti_ct(real_data):
    root = real_data("totalsegmentator-ref")
    path, k = root / "example_ct_sm.nii.gz", 15
    values, truth = (np.asarray(nibabel.load(root / name).dataobj)[:, :, k].T for name in (path.name, LABELS))
    shown = np.zeros(values.shape, np.uint8)
    source = Source(uri=str(path), reader="nifti", frame=k, volume=str(path))
    segmenter = make_segmenter(f"masks:{root / LABELS}")  # the label table is in the file
    stored, turned = segmenter(
        [
            SegmenterInput("a", pixels, pixels.astype(np.float32), source, display)
            for display in (Display(), Display(flip_rows=True, flip_cols=True))
            for pixels in (display.apply(shown),)
        ]
    )
    assert np.array_equal(stored["liver"], truth == 5)
    assert np.array_equal(turned["liver"], (truth == 5)[::-1, ::-1])
    assert 20 < values[stored["liver"]].mean() < 200
    columns = {organ: np.nonzero(turned[organ])[1].mean() for organ in ("liver", "spleen")}
    assert columns["liver"] < columns["spleen"], "displayed, the patient's right is on the left"
