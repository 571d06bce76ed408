"""Drawn shapes: masks by hand, and against shapely as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data.readers.base import Refused
from medclm.data.readers.dicom_shapes import from_ellipse, from_graphic, from_polygons
from tests.data.readers.dicom_files import COLS, ROWS, rows_of

SIZE = (ROWS, COLS)


def points(*pairs) -> np.ndarray:
    return np.array(pairs, dtype=float)


def test_a_pixel_belongs_to_a_polygon_when_its_centre_does():
    shape = from_polygons([points((1.2, 1.0), (4.6, 1.0), (4.6, 3.4), (1.2, 3.4))], SIZE)
    assert shape.box_xyxy == (1.2, 1.0, 4.6, 3.4)
    assert (shape.mask == rows_of(".......... .####.... .####...")).all()


def test_edges_through_centres_belong_to_the_left_and_upper_side():
    shape = from_polygons([points((1.5, 1.5), (3.5, 1.5), (3.5, 3.5), (1.5, 3.5))], SIZE)
    assert (shape.mask == rows_of(".......... .##....... .##")).all()


def test_an_inner_contour_is_a_hole_and_an_island_in_it_is_filled():
    rings = [points((a, a), (b, a), (b, b), (a, b)) for a, b in ((0, 7), (1, 6), (2, 5))]
    expected = rows_of("####### #.....# #.###.# #.###.# #.###.# #.....# #######")
    assert (from_polygons(rings, SIZE).mask == expected).all()


def test_a_keyhole_is_a_ring():
    keyhole = points((0, 0), (6, 0), (6, 6), (0, 6), (0, 2), (2, 2), (2, 4), (4, 4), (4, 2), (0, 2))
    assert (from_polygons([keyhole], SIZE).mask == rows_of("###### ###### ##..## ##..## ###### ######")).all()


def test_a_part_outside_the_picture_is_cut_off():
    shape = from_polygons([points((-3, -3), (2, -3), (2, 2), (-3, 2))], SIZE)
    assert shape.box_xyxy == (-3, -3, 2, 2)
    assert (shape.mask == rows_of("## ##")).all()


def test_a_circle_and_an_ellipse():
    circle = from_graphic("CIRCLE", points((3, 3), (3, 1.4)), SIZE)  # radius 1.6: corner centres are 2.12 away
    assert circle.box_xyxy == pytest.approx((1.4, 1.4, 4.6, 4.6))
    assert (circle.mask == rows_of("...... ..##.. .####. .####. ..##..")).all()
    ellipse = from_graphic("ELLIPSE", points((1, 2), (7, 2), (4, 1), (4, 3)), SIZE)  # half axes 3 and 1
    assert ellipse.box_xyxy == (1, 1, 7, 3)
    assert (
        ellipse.mask == rows_of("....... .###### .######")
    ).all()  # rows half a pixel off the centre reach 2.6 to each side


def test_the_box_of_a_tilted_ellipse():
    half = np.sqrt(0.5) * np.array([[3.0, 3.0], [-1.0, 1.0]])
    shape = from_ellipse(np.array([5.0, 4.0]), half, SIZE)
    reach = np.sqrt((9 + 1) / 2)  # sqrt(a^2 cos^2 + b^2 sin^2)
    assert shape.box_xyxy == pytest.approx((5 - reach, 4 - reach, 5 + reach, 4 + reach))


def test_open_lines_are_closed_only_where_they_stand_for_an_area():
    line = points((1, 1), (4, 1), (4, 3))
    assert from_graphic("POLYLINE", line, SIZE, close=True).box_xyxy == (1, 1, 4, 3)
    with pytest.raises(Refused, match="open line"):
        from_graphic("POLYLINE", line, SIZE)
    closed = from_graphic("POLYLINE", np.vstack([line, line[:1]]), SIZE)
    assert (closed.mask == from_graphic("POLYGON", line, SIZE).mask).all()


@pytest.mark.parametrize(
    ("kind", "pairs", "reason"),
    [
        ("POINT", [(1, 1)], "no-geometry"),
        ("MULTIPOINT", [(1, 1), (2, 2)], "no-geometry"),
        ("POLYGON", [(1, 1), (2, 2)], "no-geometry"),
        ("POLYGON", [(1, 1), (2, 1), (3, 1)], "no-geometry"),
        ("CIRCLE", [(1, 1), (1, 1)], "no-geometry"),
        ("CIRCLE", [(1, 1)], "bad-annotation"),
        ("ELLIPSE", [(1, 1), (1, 1), (2, 2), (3, 3)], "no-geometry"),
        ("ELLIPSE", [(1, 1), (2, 2)], "bad-annotation"),
        ("POLYGON", [(1, 1), (2, float("nan")), (3, 3)], "bad-annotation"),
    ],
)
def test_what_encloses_nothing(kind, pairs, reason):
    with pytest.raises(Refused) as caught:
        from_graphic(kind, np.array(pairs, dtype=float), SIZE)
    assert caught.value.reason == reason


coordinate = st.integers(-20, 120).map(lambda n: n / 10 + 0.03)  # never exactly on a centre


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9))
def test_polygons_agree_with_shapely(pairs):
    shapely = pytest.importorskip("shapely")
    polygon = shapely.Polygon(pairs)
    if not polygon.is_valid or polygon.area == 0:
        return
    y, x = np.mgrid[:ROWS, :COLS] + 0.5
    oracle = shapely.contains_xy(polygon, x, y)
    near = shapely.distance(polygon.boundary, shapely.points(x, y)) < 1e-6
    assert (from_polygons([np.array(pairs)], SIZE).mask == oracle)[~near].all()
