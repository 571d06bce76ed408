import re
from xml.etree import ElementTree

from medclm.train.plots import lines, shares


def test_a_curve_runs_from_the_left_to_the_right_and_upwards():
    svg = str(lines({"main": [(0, 0.0), (10, 1.0)]}, "accuracy", 0.0, 1.0))
    ElementTree.fromstring(svg)
    points = re.search(r'points="([^"]+)"', svg)[1]
    assert points == "48.0,184.0 508.0,12.0"


def test_values_beyond_the_axis_stay_inside():
    svg = str(lines({"main": [(0, 5.0), (10, -5.0)]}, "x", 0.0, 1.0))
    assert re.search(r'points="([^"]+)"', svg)[1] == "48.0,12.0 508.0,184.0"


def test_shares_fill_the_height_of_every_window():
    svg = str(shares([(5, {"easy": 3, "medium": 1}), (10, {"hard": 2})], "stages"))
    ElementTree.fromstring(svg)
    heights = [(m[0], float(m[1])) for m in re.findall(r'class="(\w+)"[^>]*height="([\d.]+)"', svg)]
    assert heights == [
        ("easy", 129.0),
        ("medium", 43.0),
        ("hard", 0.0),
        ("easy", 0.0),
        ("medium", 0.0),
        ("hard", 172.0),
    ]


def test_names_are_escaped():
    assert "<b>" not in str(lines({"main:<b>": [(0, 1.0)]}, "<b>"))
