"""The window that suits a CT slice: phantoms with shares worked out by hand, and real slices."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medclm.data.ct_windows import CT_WINDOWS, window_of
from medclm.data.images import read_picture, render

AIR, FAT, SOFT, BONE = -1000, -100, 50, 900


def disc(size: int, radius: float, center=None) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    cy, cx = center or ((size - 1) / 2, (size - 1) / 2)
    return (y - cy) ** 2 + (x - cx) ** 2 <= radius**2


def body(fill: float = FAT, size: int = 100, radius: float = 45) -> np.ndarray:
    return np.where(disc(size, radius), float(fill), float(AIR))


def chest() -> np.ndarray:
    slice_ = body(SOFT)
    slice_[disc(100, 17, (50, 27)) | disc(100, 17, (50, 73))] = -850  # 2 * 17^2 / 45^2 = 29 % of the body
    return slice_


def head() -> np.ndarray:
    slice_ = body(30)
    slice_[disc(100, 42) & ~disc(100, 38)] = BONE  # brain: 38^2 / 45^2 = 71 % of the body
    return slice_


def abdomen() -> np.ndarray:
    slice_ = body(FAT)
    slice_[disc(100, 16, (50, 33))] = 100  # 16 / 45 = 0.36 of the radius of the body
    slice_[disc(100, 6, (70, 65))] = SOFT
    return slice_


def limb() -> np.ndarray:
    slice_ = body(SOFT)
    slice_[disc(100, 20)] = BONE  # 20^2 / 45^2 = 20 %
    return slice_


def vessels() -> np.ndarray:
    """Muscle no thicker than 2 * 8 px: 8 / 45 = 0.18 of the radius."""
    slice_ = body(FAT)
    slice_[disc(100, 8, (70, 35)) | disc(100, 8, (70, 65))] = SOFT
    return slice_


PHANTOMS = {"lung": chest, "brain": head, "liver": abdomen, "bone": limb, "mediastinum": vessels}


@pytest.mark.parametrize("name", PHANTOMS)
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_phantoms_however_they_lie(name, turn):
    slice_ = PHANTOMS[name]()
    assert window_of(np.rot90(slice_, turn)) == CT_WINDOWS[name]
    assert window_of(slice_[:, ::-1]).name == name


@pytest.mark.parametrize("name", PHANTOMS)
def test_the_size_of_a_pixel_and_noise_play_no_part(name):
    noise = np.random.default_rng(0).normal(0, 20, (500, 500))
    assert window_of(np.kron(PHANTOMS[name](), np.ones((5, 5))) + noise).name == name


def test_lungs_around_a_heart_are_no_abdomen():
    slice_ = abdomen()
    slice_[disc(100, 8, (50, 70))] = -850  # 8^2 / 45^2 = 3 % of the body
    assert window_of(slice_).name == "mediastinum"


def test_an_open_ring_is_no_skull():
    slice_ = head()
    slice_[:, 45:55][slice_[:, 45:55] == BONE] = SOFT
    assert window_of(slice_).name != "brain"


def test_a_ring_around_air_or_bone_is_no_brain():
    for inside in (-900, 400):
        slice_ = head()
        slice_[disc(100, 38)] = inside
        assert window_of(slice_).name != "brain"


@pytest.mark.parametrize(
    "values", [np.full((8, 8), -1000.0), np.full((8, 8), np.nan), np.full((1, 1), 40.0), np.full((1, 900), 40.0)]
)
def test_slices_without_anything_to_go_by(values):
    assert window_of(values).name == "mediastinum"


def test_the_names_are_those_of_the_presets():
    assert {name: window.name for name, window in CT_WINDOWS.items()} == {name: name for name in CT_WINDOWS}


def test_real_slices_of_a_liver(real_data):
    """20 slices from the dome of the liver down; those with 2 % and more of lung beside it go by as chest."""
    found = []
    for path in sorted((real_data("totalsegmentator-ref") / "example_ct_dicom").iterdir()):
        picture = read_picture(path.read_bytes(), path.name)
        assert render(picture)[1] == picture.window, "the file's own window goes first"
        assert picture.window.name == ""
        found.append(window_of(picture.values).name)
    assert len(found) == 20
    assert found.count("liver") >= 16
    assert set(found) <= {"liver", "mediastinum"}


def test_real_slices_that_ship_with_pydicom():
    files = Path(pydicom.__file__).parent / "data" / "test_files"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head_slice = read_picture((files / "693_J2KI.dcm").read_bytes(), "head")
        crop = read_picture((files / "CT_small.dcm").read_bytes(), "crop of a trunk, spine and muscles")
    assert window_of(head_slice.values).name == "brain"
    assert render(crop)[1] == CT_WINDOWS["mediastinum"]
