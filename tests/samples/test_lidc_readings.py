import sqlite3

import numpy as np
import pytest

from medclm.samples.lidc_readings import (
    RATINGS,
    Contour,
    Reading,
    consensus,
    group,
    inside,
    parse_points,
    rating_words,
    read_scan,
    slice_masks,
)

LOWEST = dict.fromkeys(RATINGS, 1)


def outline(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    """Pixel chain around a rectangle whose *outline* has these corners, corners included."""
    top = [(x, y1) for x in range(x1, x2)]
    right = [(x2, y) for y in range(y1, y2)]
    bottom = [(x, y2) for x in range(x2, x1, -1)]
    left = [(x1, y) for y in range(y2, y1, -1)]
    return np.array([*top, *right, *bottom, *left, (x1, y1)])


def reading(*corners, z=0.0, inclusion=True, ratings=LOWEST) -> Reading:
    return Reading((Contour(z, outline(*corners), inclusion),), ratings)


def box(x1, y1, x2, y2, size_hw=(20, 30)) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_points_are_column_then_row():
    assert parse_points("7,2\n8,3\n").tolist() == [[7, 2], [8, 3]]


def test_the_outline_is_outside_the_nodule():
    contour = Contour(0.0, outline(20, 2, 26, 5), True)  # wide: x to 26 in a picture of 20 rows
    assert np.array_equal(inside(contour, (20, 30)), box(21, 3, 26, 5))


def test_a_slanted_outline_keeps_its_interior_only():
    diamond = np.array([(5, 2), (6, 3), (7, 4), (6, 5), (5, 6), (4, 5), (3, 4), (4, 3), (5, 2)])
    mask = inside(Contour(0.0, diamond, True), (10, 10))
    assert sorted(zip(*(v.tolist() for v in np.nonzero(mask)), strict=True)) == [(3, 5), (4, 4), (4, 5), (4, 6), (5, 5)]


def test_a_point_marks_nothing():
    assert not inside(Contour(0.0, np.array([[3, 3]]), True), (10, 10)).any()


def test_exclusions_cut_holes_whatever_their_order():
    hole = Contour(0.0, outline(10, 8, 14, 12), False)
    ring = Reading((hole, Contour(0.0, outline(5, 4, 20, 16), True)), LOWEST)
    assert np.array_equal(slice_masks(ring, (20, 30))[0.0], box(6, 5, 20, 16) & ~box(11, 9, 14, 12))


def test_readings_group_by_overlap_on_the_same_slice():
    a, b, c = reading(2, 2, 8, 8), reading(6, 6, 12, 12), reading(10, 10, 16, 16)
    apart, elsewhere = reading(20, 2, 26, 8), reading(2, 2, 8, 8, z=2.5)
    masks = [slice_masks(r, (20, 30)) for r in (a, b, c, apart, elsewhere)]
    assert group(masks) == [[0, 1, 2], [3], [4]]


def test_consensus_takes_what_half_of_the_nodules_readers_hold():
    readings = [reading(2, 2, 10, 8), reading(4, 2, 10, 8), reading(6, 2, 14, 8), reading(6, 2, 14, 8)]
    (lesion,) = consensus(readings, (20, 30), spacing_mm=0.5)
    # interiors cover columns 3-9, 5-9, 7-13, 7-13: two of four hold 5, 6 (first two) and 7-13
    assert np.array_equal(lesion.mask, box(5, 3, 14, 8))
    assert lesion.attributes["readers"] == lesion.attributes["readers_on_slice"] == 4
    spans = np.hypot([8, 6, 8, 8], 6) * 0.5
    assert lesion.attributes["diameter_mm"] == round(float(np.median(spans)), 1) == 5.0


def test_a_slice_that_too_few_readers_mark_is_left_out():
    both = Reading((Contour(0.0, outline(2, 2, 9, 9), True), Contour(2.5, outline(2, 2, 9, 9), True)), LOWEST)
    one = reading(2, 2, 9, 9)
    lesions = consensus([both, one, one], (20, 30), 1.0)
    assert [(lesion.z_mm, lesion.attributes["readers_on_slice"]) for lesion in lesions] == [(0.0, 3)]


def test_ratings_become_words():
    rows = [
        {**LOWEST, "malignancy": 3, "calcification": 6, "sphericity": 3},
        {**LOWEST, "malignancy": 5, "calcification": 6, "sphericity": 4},
        {**LOWEST, "malignancy": 5, "calcification": 1, "sphericity": 3},
        {**LOWEST, "malignancy": 4, "calcification": 3, "sphericity": 5},
    ]
    words = rating_words(rows)
    assert words["malignancy"] == "highly suspicious"  # median of 3 4 5 5: the higher of 4 and 5
    assert words["calcification"] == "absent"
    assert words["sphericity"] == "ovoid to round"
    assert (words["subtlety"], words["texture"], words["internal_structure"]) == (
        "extremely subtle",
        "non-solid",
        "soft tissue",
    )


@pytest.fixture
def database():
    connection = sqlite3.connect(":memory:")
    scores = ", ".join(f'"{"internalStructure" if n == "internal_structure" else n}" INTEGER' for n in RATINGS)
    connection.execute("CREATE TABLE scans (id INTEGER, series_instance_uid TEXT)")
    connection.execute(f"CREATE TABLE annotations (id INTEGER, scan_id INTEGER, {scores})")
    connection.execute(
        "CREATE TABLE contours"
        " (id INTEGER, annotation_id INTEGER, inclusion INTEGER, image_z_position REAL, coords TEXT)"
    )
    connection.execute("INSERT INTO scans VALUES (1, '1.2'), (2, '1.3')")
    connection.execute("INSERT INTO annotations VALUES (7, 1, 1,2,3,4,5,1,2,3,4), (8, 2, 1,1,1,1,1,1,1,1,1)")
    connection.execute(
        "INSERT INTO contours VALUES (1, 7, 1, -5.0, '1,2\n3,4'), (2, 7, 0, -2.5, '5,6'), (3, 8, 1, 0, '0,0')"
    )
    yield connection
    connection.close()


def test_the_series_uid_picks_the_scan(database):
    (found,) = read_scan(database, "1.2")
    assert [(c.z_mm, c.points_xy.tolist(), c.inclusion) for c in found.contours] == [
        (-5.0, [[1, 2], [3, 4]], True),
        (-2.5, [[5, 6]], False),
    ]
    assert found.ratings["internal_structure"] == 2
    assert found.ratings["malignancy"] == 4
    assert read_scan(database, "9.9") == []
