"""Label volumes: whole numbers only, and the names that 3D Slicer and TotalSegmentator put into their files."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medclm.data.label_files import read_labels
from medclm.data.volume_files import read_volume
from medclm.errors import MedclmError
from tests.data.volume_arrays import LPS, RAS, VALUES, nifti, write_layers, write_nrrd

TABLE = '<?xml version="1.0"?><CaretExtension><Label Key="1" Red="1">spleen</Label><Label Key="5">liver</Label></C{}>'


def labelled(path, text: str) -> str:
    image = nibabel.Nifti1Image(VALUES, RAS)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, text.encode()))
    nibabel.save(image, path)
    return str(path)


def test_values_and_names(tmp_path):
    path = write_nrrd(tmp_path / "a.seg.nrrd", Segment0_LabelValue="3", Segment0_Name="mass")
    (found,) = read_labels(path)
    assert found.values.dtype == np.int32
    assert np.array_equal(found.values, VALUES.transpose(2, 1, 0))
    assert (found.names, found.grid.affine.tolist()) == ({3: "mass"}, LPS.tolist())


def test_segments_of_slicer_that_overlap_lie_in_layers(tmp_path):
    path = write_layers(tmp_path / "a.seg.nrrd")
    below, above = read_labels(path)
    assert (below.names, above.names) == ({1: "liver", 2: "spleen"}, {1: "cyst"})
    assert np.argwhere(below.values).tolist() == [[0, 0, 0], [0, 0, 1], [1, 2, 3]], "slice, row, column"
    assert np.argwhere(above.values).tolist() == [[0, 0, 1]]
    assert below.grid.affine.tolist() == above.grid.affine.tolist() == LPS.tolist()
    with pytest.raises(MedclmError, match="not one volume"):
        read_volume((tmp_path / "a.seg.nrrd").read_bytes(), path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_table_of_totalsegmentator(tmp_path, name):
    assert read_labels(labelled(tmp_path / name, TABLE.format("aretExtension")))[0].names == {1: "spleen", 5: "liver"}
    assert read_labels(labelled(tmp_path / name, "a remark"))[0].names == {}
    with pytest.raises(MedclmError, match="label table in the NIfTI header is damaged"):
        read_labels(labelled(tmp_path / name, TABLE.format("")))


def test_whole_numbers_in_floats_are_labels(tmp_path):
    assert read_labels(nifti(tmp_path / "a.nii", VALUES.astype(np.float32)))[0].values.max() == 23


@pytest.mark.parametrize("value", [0.5, -1, 2.0**31])
def test_other_values_are_none(tmp_path, value):
    values = VALUES.astype(np.float64)
    values[0, 0, 0] = value
    with pytest.raises(MedclmError, match="values that are no labels"):
        read_labels(nifti(tmp_path / "a.nii", values))
