"""Volume files of every format: the same voxels and grid; what is damaged or no volume is one clear error."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data import images, volume_files
from medclm.data.grid import SAME_MM
from medclm.data.volume_files import is_volume, read_grid, read_volume
from medclm.errors import MedclmError
from tests.data import volume_arrays as arrays

WRITERS = {
    "a.nii": arrays.nifti, "a.nii.gz": arrays.nifti, "a.nrrd": arrays.write_nrrd, "a.nhdr": arrays.write_nrrd,
    "a.mha": arrays.metaimage, "a.mhd": arrays.metaimage,
}  # fmt: skip


def read(path: str):
    return read_volume(Path(path).read_bytes(), path, beside=True)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_volume(tmp_path, name):
    path = WRITERS[name](tmp_path / name)
    volume = read(path)
    assert is_volume(Path(path).read_bytes())
    assert np.array_equal(volume.stored, arrays.VALUES.transpose(2, 1, 0))
    assert np.abs(volume.grid.affine - arrays.LPS).max() < SAME_MM / 1000
    assert [(s.uri, s.frame) for s in volume.slices] == [(path, 0), (path, 1)]
    header = read_grid(path)
    assert header.size_ijk == (4, 3, 2)
    assert np.array_equal(header.affine, volume.grid.affine)


def test_bytes_alone_never_lead_to_another_file(tmp_path):
    for name in ("a.mhd", "a.nhdr"):
        path = WRITERS[name](tmp_path / name)
        with pytest.raises(MedclmError, match="not in the file"):
            images.read_picture(Path(path).read_bytes(), path, frame=0)


@pytest.mark.parametrize("name", ["../a.raw", "/etc/passwd", "LIST", "s%03d.raw 1 2 1"])
def test_voxels_lie_in_the_same_folder_or_nowhere(tmp_path, name):
    path = arrays.metaimage(tmp_path / "b" / "a.mhd", ElementDataFile=name)
    with pytest.raises(MedclmError, match="nor in one file beside it"):
        read(path)


def test_a_frame_must_be_named(tmp_path):
    data = Path(arrays.nifti(tmp_path / "a.nii")).read_bytes()
    with pytest.raises(MedclmError, match="frame=0 … frame=1"):
        images.read_picture(data, "x")
    with pytest.raises(MedclmError, match="no such frame"):
        images.read_picture(data, "x", frame=2)
    with pytest.raises(MedclmError, match="too large"):
        images.read_picture(data, "x", frame=1, max_pixels=11)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_a_truncated_file(tmp_path, name, keep):
    data = Path(WRITERS[name](tmp_path / name)).read_bytes()
    with pytest.raises(MedclmError) as caught:
        read_volume(data[: int(len(data) * keep)], "cut")
    assert caught.value.details["where"] == "cut"


def test_a_gzip_file_is_held_to_its_check_sum(tmp_path):
    path = arrays.nifti(tmp_path / "a.nii", np.zeros((20, 20, 20), np.int16))
    data = bytearray(gzip.compress(Path(path).read_bytes(), 0))
    data[-20] ^= 1
    with pytest.raises(MedclmError, match="cut off or damaged"):
        read_volume(bytes(data), "x")


def readable_or_explained(data: bytes) -> bool:
    """Whether the volume reads; if not, the error is ours. Anything else is raised."""
    try:
        return read_volume(data, "x").stored.ndim == 3
    except MedclmError:
        return False


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["a.nii", "a.nii.gz", "a.nrrd", "a.mha"]), st.data())
def test_damaged_bytes_raise_nothing_else(tmp_path_factory, name, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    path = folder / name
    if not path.exists():
        WRITERS[name](path)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert readable_or_explained(bytes(damaged)) in (True, False)


def test_series_and_colour_are_no_volumes_and_one_slice_is(tmp_path):
    series = nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4))
    with pytest.raises(MedclmError, match="not one volume") as caught:
        read_volume(series.to_bytes(), "x")
    assert (caught.value.details["where"], caught.value.details["got"]) == ("x", "2 x 2 x 2 x 3")
    rgb = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(MedclmError, match="not one volume"):
        read_volume(nibabel.Nifti1Image(rgb, np.eye(4)).to_bytes(), "x")
    for shape in ((2, 3), (2, 3, 1, 1)):
        volume = read_volume(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)).to_bytes(), "x")
        assert volume.stored.shape == (1, 3, 2)


def test_the_limit_holds_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(volume_files, "MAX_VOXELS", 23)
    with pytest.raises(MedclmError, match="too large"):
        read(arrays.nifti(tmp_path / "a.nii.gz"))


def test_what_is_no_number_becomes_the_lowest_value(tmp_path):
    values = arrays.VALUES.astype(np.float32)
    values[0, 0, 0] = np.nan
    values[1, 0, 0] = np.inf
    stored = read(arrays.nifti(tmp_path / "a.nii", values)).stored
    assert (stored[0, 0, 0], stored[0, 0, 1], stored.min()) == (2, 2, 2)


def test_a_missing_file_and_one_that_is_none(tmp_path):
    with pytest.raises(MedclmError, match="cannot be read"):
        read_grid(str(tmp_path / "none.nii"))
    (tmp_path / "a.nii").write_bytes(b"hello")
    with pytest.raises(MedclmError, match="not an image"):
        read_grid(str(tmp_path / "a.nii"))
    with pytest.raises(MedclmError, match="not an image"):
        read_volume(b"", "x")


def test_the_header_of_a_remote_file():
    import fsspec

    image = nibabel.Nifti1Image(arrays.VALUES, arrays.RAS)
    fsspec.filesystem("memory").pipe("/volume-files/a.nii.gz", gzip.compress(image.to_bytes()))
    assert read_grid("memory://volume-files/a.nii.gz").size_ijk == (4, 3, 2)
    assert images.read_file("memory://volume-files/a.nii.gz", 1)[0].values[0, 0] == 12
