"""NRRD headers: spaces, encodings, what they leave unsaid, segments of 3D Slicer, and real segmentations."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest

from medclm.data.nrrd_file import segments
from medclm.data.volume_files import read_volume
from medclm.errors import MedclmError
from tests.data.volume_arrays import LPS, VALUES, write_nrrd


def grid(path: str):
    return read_volume(Path(path).read_bytes(), path).grid


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
    ],
)
def test_spaces_of_patients(tmp_path, space, signs):
    affine = grid(write_nrrd(tmp_path / "a.nrrd", space=space)).affine
    assert np.allclose(affine, np.diag([*signs, 1]) @ LPS)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_encodings(tmp_path, encoding):
    path = write_nrrd(tmp_path / "a.nrrd", encoding=encoding)
    assert np.array_equal(read_volume(Path(path).read_bytes(), path).stored, VALUES.transpose(2, 1, 0))


def test_another_space_is_not_a_patient_s(tmp_path):
    found = grid(write_nrrd(tmp_path / "a.nrrd", space="scanner-xyz"))
    assert (found.affine, found.spacing_ijk) == (None, (0.5, 2, 5))


@pytest.mark.parametrize(("header", "spacing"), [({"spacings": [0.5, 2, 5]}, (0.5, 2, 5)), ({}, (0, 0, 0))])
def test_without_directions_nobody_knows_how_it_lies(tmp_path, header, spacing):
    nrrd.write(str(tmp_path / "a.nrrd"), VALUES, header)
    found = grid(str(tmp_path / "a.nrrd"))
    assert (found.affine, found.spacing_ijk) == (None, spacing)


def test_layers_of_segments_are_no_volume(tmp_path):
    directions = np.vstack([[np.nan] * 3, np.eye(3)])
    header = {"space": "LPS", "space directions": directions, "space origin": [0, 0, 0]}
    nrrd.write(str(tmp_path / "a.nrrd"), np.zeros((2, 3, 4, 5), np.uint8), header)
    with pytest.raises(MedclmError, match="not one volume") as caught:
        grid(str(tmp_path / "a.nrrd"))
    assert "each layer of segments" in caught.value.details["remedy"]


def test_segments(tmp_path):
    names = {"Segment0_LabelValue": "3", "Segment0_Name": "Mass ", "Segment0_ID": "x", "Segment1_LabelValue": "7"}
    assert segments(Path(write_nrrd(tmp_path / "a.nrrd", **names)).read_bytes()) == {3: "Mass"}


def test_real_segmentations_are_as_pynrrd_reads_them(real_data):
    files = sorted(real_data("dcmqi").glob("segmentations/**/*.nrrd"))
    assert files, "the folder has NRRD files"
    for path in files:
        expected, header = nrrd.read(str(path))
        volume = read_volume(path.read_bytes(), str(path))
        assert np.array_equal(volume.stored.transpose(2, 1, 0), expected)
        assert volume.grid.to_patient([[0, 0, 0]])[0].tolist() == list(header["space origin"])
        assert volume.grid.plane == "axial"
