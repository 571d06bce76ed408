"""Slices of volumes as pictures, by hand; and one real CT read as DICOM and as NIfTI."""

from __future__ import annotations

import nibabel
import numpy as np

from medclm.data.display import Display
from medclm.data.grid import grid_of, reordered
from medclm.data.images import CT_WINDOWS, read_file, read_picture, render
from medclm.data.label_files import read_labels
from medclm.data.records import Spacing
from medclm.data.volume_cache import load_volume
from medclm.data.volume_series import read_series
from medclm.data.volumes import Volume
from tests.data.volume_arrays import LPS, SIZE, VALUES


def test_a_slice_by_hand():
    volume = Volume(VALUES.transpose(2, 1, 0), grid_of(SIZE, LPS, (0, 0, 0)), "nifti", 2.0, -10.0, "CT")
    picture = volume.picture(1)
    assert picture.values.dtype == np.float32
    assert picture.values.tolist() == [[14, 16, 18, 20], [22, 24, 26, 28], [30, 32, 34, 36]]  # 2 (12 + i + 4 j) - 10
    assert (picture.modality, picture.plane, picture.display, picture.notes) == ("CT", "axial", Display(), ())
    assert picture.spacing_mm == Spacing(row=2, col=0.5)
    assert volume.values.shape == (2, 3, 4)
    assert np.array_equal(volume.values[1], picture.values)
    assert render(picture, "brain")[1] == CT_WINDOWS["brain"]


def test_a_file_without_a_modality_is_ct_where_it_goes_down_to_air():
    grid = grid_of(SIZE, LPS, (0, 0, 0))
    stored = VALUES.transpose(2, 1, 0)
    assert Volume(stored, grid, "nifti", 1.0, -1000.0).picture(0).modality == "CT"
    assert Volume(stored, grid, "nifti", 1.0, -800.0).picture(0).modality == ""
    assert Volume(stored, grid, "nifti", 1.0, -1000.0, "PT").picture(0).modality == "PT"


def test_a_volume_that_does_not_say_how_it_lies_is_left_as_it_is():
    picture = Volume(VALUES.transpose(2, 1, 0), grid_of(SIZE, None, (1, 1, 1)), "nrrd").picture(0)
    assert (picture.plane, picture.display) == ("", None)
    assert picture.notes == ("the file does not say how the volume lies in the patient",)


def test_a_real_ct_as_dicom_and_as_nifti_shows_the_same_slices_and_organs(real_data, tmp_path):
    """The NIfTI is written here with nibabel on the grid of the label volume, whose rows run to the front."""
    root = real_data("totalsegmentator-ref")
    series = read_series(str(root / "example_ct_dicom"))
    seg = nibabel.load(root / "example_seg_dicom.nii.gz")
    hounsfield = series.values.transpose(2, 1, 0)[:, ::-1].astype(np.int16)
    path = str(tmp_path / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(hounsfield, seg.affine), path)
    volume, _ = load_volume(path)
    (labels,) = read_labels(str(root / "example_seg_dicom.nii.gz"))
    on_dicom = reordered(labels.values, labels.grid, series.grid)
    on_nifti = reordered(labels.values, labels.grid, volume.grid)
    assert labels.names[5] == "liver"
    for k, where in enumerate(series.slices):
        as_dicom, as_nifti = read_file(where.uri, where.frame)[0], read_file(path, k)[0]
        assert (as_dicom.display.text, as_nifti.display.text) == ("", "flip-rows")
        assert (as_dicom.plane, as_dicom.spacing_mm) == (as_nifti.plane, as_nifti.spacing_mm)
        assert np.array_equal(as_dicom.display.apply(as_dicom.values), as_nifti.display.apply(as_nifti.values))
        assert np.array_equal(render(as_dicom, CT_WINDOWS["liver"])[0], render(as_nifti, CT_WINDOWS["liver"])[0])
        assert np.array_equal(as_dicom.display.apply(on_dicom[k]), as_nifti.display.apply(on_nifti[k]))
    means = {labels.names[v]: series.values[on_dicom == v].mean() for v in np.unique(on_dicom) if v}
    assert len(means) == 31
    assert 70 < means["liver"] < 110
    assert 60 < means["spleen"] < 100
    right = np.nonzero(on_dicom == 5)[2].mean()
    assert right < 256, "the liver is on the patient's right, the picture's left"


def test_a_picture_of_bytes_is_that_of_the_file(tmp_path):
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(VALUES, np.eye(4)), path)
    assert np.array_equal(read_picture(path.read_bytes(), "x", frame=1).values, VALUES[:, :, 1].T)
