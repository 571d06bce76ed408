"""Pixels and patient coordinates of a frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data.readers.dicom_plane import Plane, plane_of
from medclm.data.records import Spacing
from tests.data.readers.dicom_files import ct_slice, item

AXIAL = Plane((-10.0, 20.0, 100.0), (1, 0, 0, 0, 1, 0), Spacing(row=2.0, col=0.5))


def test_image_position_is_the_centre_of_the_first_pixel():
    xy, distance = AXIAL.to_pixels(np.array([[-10, 20, 100], [-9, 26, 103]]))
    assert xy.tolist() == [[0.5, 0.5], [2.5, 3.5]]
    assert distance.tolist() == [0, 3]


def test_a_sagittal_slice():
    plane = Plane((5.0, 0.0, 50.0), (0, 1, 0, 0, 0, -1), Spacing(row=1.0, col=2.0))  # columns to the back, rows down
    xy, distance = plane.to_pixels(np.array([[5, 4, 47], [6, 0, 50]]))
    assert xy.tolist() == [[2.5, 3.5], [0.5, 0.5]]
    assert distance.tolist() == [0, -1]  # the normal of (y, -z) is -x


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3), st.floats(0.2, 3), st.floats(0.2, 3),
    st.lists(st.tuples(st.floats(-50, 600), st.floats(-50, 600)), min_size=1, max_size=5),
)  # fmt: skip
def test_there_and_back(a, b, c, row, col, pairs):
    from scipy.spatial.transform import Rotation

    axes = Rotation.from_euler("xyz", [a, b, c]).as_matrix()
    plane = Plane((1.0, -2.0, 3.0), (*axes[0], *axes[1]), Spacing(row=row, col=col))
    points = np.array(pairs)
    xy, distance = plane.to_pixels(plane.to_patient(points))
    assert np.allclose(xy, points, atol=1e-6)
    assert np.allclose(distance, 0, atol=1e-6)


def test_highdicom_agrees():
    from highdicom.spatial import ReferenceToImageTransformer

    theirs = ReferenceToImageTransformer(
        image_position=AXIAL.position_mm, image_orientation=AXIAL.orientation, pixel_spacing=[2.0, 0.5]
    )
    points = np.array([[-10.0, 20.0, 100.0], [-7.3, 25.1, 100.0]])
    assert np.allclose(AXIAL.to_pixels(points)[0], theirs(points)[:, :2])  # image coordinates, C.18.6


def test_a_cropped_and_flipped_mask_on_the_pixels_of_the_whole():
    crop = Plane((-8.0, 24.0, 100.0), (-1, 0, 0, 0, 1, 0), Spacing(row=2.0, col=0.5))  # starts at column 4, row 2
    mask = np.array([[True, True, False], [True, False, False]])
    found = crop.resampled(mask, AXIAL, (8, 10))
    assert np.argwhere(found).tolist() == [[2, 3], [2, 4], [3, 4]]
    assert not crop.is_same(AXIAL)
    assert AXIAL.is_same(Plane((-10.0001, 20.0, 100.0), (1, 0, 0, 0, 1, 0), Spacing(row=2.0, col=0.5)))


def test_planes_from_functional_groups_and_from_the_file():
    assert plane_of([None, ct_slice(0)]) == AXIAL
    own = item(PlanePositionSequence=[item(ImagePositionPatient=[1, 2, 3])])
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[2.0, 0.5])],
    )
    assert plane_of([own, shared]) == Plane((1, 2, 3), (1, 0, 0, 0, 1, 0), Spacing(row=2.0, col=0.5))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ImagePositionPatient", None),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [2, 0, 0, 0, 1, 0]),
        ("PixelSpacing", [0, 1]),
    ],
)
def test_a_frame_without_a_usable_plane(name, value):
    ds = ct_slice(0)
    setattr(ds, name, value)
    assert plane_of([ds]) is None
