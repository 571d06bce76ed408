import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.errors import MedclmError
from medclm.train.families import FAMILIES, bind, family_of

FAMILY = dataclasses.replace(FAMILIES["idefics3"], frame_size=96)


def test_box_text_is_whole_pixels_of_the_frame():
    # 192 wide, 48 high: x halves, y doubles
    assert FAMILY.box_to_text((20, 10, 41, 12), (48, 192)) == "[10 20 20 24]"
    assert FAMILY.text_to_boxes("a [10 20 20 24] b", (48, 192)) == [(20, 10, 40, 12)]


def test_broken_boxes_are_left_out():
    assert FAMILY.text_to_boxes("[5 5 5 9] [9 1 3 4] [1 2 3] [1 2 3 x]", (96, 96)) == []


def test_without_boxes():
    assert FAMILY.without_boxes("There is a nodule. [1 2 3 4]") == "There is a nodule."


@given(st.data())
def test_round_trip_is_within_one_pixel_of_the_frame(data):
    height, width = data.draw(st.integers(8, 4000)), data.draw(st.integers(8, 4000))
    x1 = data.draw(st.floats(0, width - 1e-2))
    y1 = data.draw(st.floats(0, height - 1e-2))
    x2 = data.draw(st.floats(x1, width, exclude_min=True))
    y2 = data.draw(st.floats(y1, height, exclude_min=True))
    (box,) = FAMILY.text_to_boxes(FAMILY.box_to_text((x1, y1, x2, y2), (height, width)), (height, width))
    for written, true, extent in zip(box, (x1, y1, x2, y2), (width, height) * 2, strict=True):
        assert abs(written - true) <= extent / 96 * (1 + 1e-9)


def test_unknown_family_lists_the_known_ones():
    with pytest.raises(MedclmError, match="smolvlm, idefics3"):
        family_of("bert")


def test_bind_prepares_the_processor(loaded):
    family = bind(family_of("smolvlm"), loaded.processor)
    assert family.frame_size == 32
    assert loaded.processor.image_processor.do_image_splitting is False
    assert loaded.grid_hw == (4, 4)
    assert family.image_text(loaded.processor, {}).count("<image>") == 16
