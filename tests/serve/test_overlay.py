"""Drawing: which pixels a box and its label touch."""

from __future__ import annotations

import numpy as np
from PIL import Image

from medclm.data.records import Step
from medclm.serve.overlay import color, draw_boxes, draw_steps


def test_box_outline_lies_just_inside():
    shown = np.asarray(draw_boxes(Image.new("L", (20, 10)), [(4, 2, 9, 7)], min_side=0))
    drawn = (shown == color(0)).all(axis=-1)
    expected = np.zeros((10, 20), bool)
    expected[2:7, 4:9] = True
    expected[3:6, 5:8] = False
    np.testing.assert_array_equal(drawn, expected)
    assert shown.shape == (10, 20, 3)


def test_small_pictures_are_enlarged_by_a_whole_factor():
    shown = draw_boxes(Image.new("RGB", (100, 60)), [(10, 10, 20, 20)], min_side=512)
    assert shown.size == (600, 360)
    pixels = np.asarray(shown)
    assert tuple(pixels[60, 60]) == color(0)
    assert tuple(pixels[59, 59]) == (0, 0, 0)
    assert tuple(pixels[119, 119]) == color(0)
    assert tuple(pixels[120, 120]) == (0, 0, 0)


def test_steps_are_numbered_and_equal_boxes_drawn_once():
    box = (100.0, 200.0, 300.0, 400.0)
    steps = [
        Step(step="seed", text="a", box_xyxy=box),
        Step(step="view", text="b"),
        Step(step="x", text="c", box_xyxy=box),
    ]
    image = Image.new("L", (512, 512))
    assert list(draw_steps(image, steps).tobytes()) == list(draw_boxes(image, [box], ["1, 3"]).tobytes())
    assert draw_boxes(image, [box], ["1"]).tobytes() != draw_boxes(image, [box], ["3"]).tobytes()
    np.testing.assert_array_equal(np.asarray(draw_steps(image, steps[1:2])), 0)


def test_label_at_the_edges_stays_in_the_picture():
    for box in [(0, 0, 512, 512), (500, 0, 512, 12), (0, 505, 5, 512)]:
        shown = np.asarray(draw_boxes(Image.new("L", (512, 512)), [box], ["12"]))
        text = (shown == 0).all(axis=-1) ^ (shown == 0).any(axis=-1)
        assert (shown == color(0)).all(axis=-1).sum() > 60
        assert text.sum() > 0


def test_colors_differ():
    assert len({color(n) for n in range(12)}) == 12
