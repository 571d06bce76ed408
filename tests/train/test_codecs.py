import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.train import codecs

ALL = {name: value for name, value in vars(codecs).items() if isinstance(value, codecs.BoxCodec)}
BOX, SIZE_HW, FRAME_HW = (20.0, 10.0, 41.0, 12.0), (48, 192), (96, 96)


@pytest.mark.parametrize(
    ("name", "text"),
    [  # a picture 192 wide and 48 high: in a frame of 96 x halves and y doubles
        ("SPACED", "[10 20 20 24]"),
        ("SHARES", "[0.104, 0.208, 0.214, 0.250]"),
        ("BBOX_PIXELS", '{"bbox_2d": [10, 20, 20, 24]}'),
        ("BBOX_THOUSANDTHS", '{"bbox_2d": [104, 208, 214, 250]}'),
        ("BOX_TOKENS", "<|box_start|>(104,208),(214,250)<|box_end|>"),
        ("BOX_TAGS", "<box>[[104, 208, 214, 250]]</box>"),
        ("BOX_2D", '{"box_2d": [208, 104, 250, 214]}'),
        ("LOCATIONS", "<loc0213><loc0107><loc0256><loc0219>"),
    ],
)
def test_a_box_as_each_family_writes_it(name, text):
    assert ALL[name].write(BOX, SIZE_HW, FRAME_HW) == text
    (read,) = ALL[name].read(f"There is a nodule. {text} It is round.", SIZE_HW, FRAME_HW)
    unit = 1 / 96 if ALL[name].unit == "pixel" else 1 / 1000
    assert read == pytest.approx(BOX, abs=unit * 192)
    assert ALL[name].without(f"There is a nodule. {text}") == "There is a nodule."


@pytest.mark.parametrize(
    ("name", "text"),
    [  # what is left where decoding leaves special tokens out
        ("BOX_TOKENS", "(104,208),(214,250)"),
        ("BOX_TAGS", "[[104, 208, 214, 250]]"),
        ("BBOX_PIXELS", "[10, 20, 20, 24]"),
    ],
)
def test_marks_may_be_missing(name, text):
    whole = ALL[name].write(BOX, SIZE_HW, FRAME_HW)
    assert ALL[name].read(text, SIZE_HW, FRAME_HW) == ALL[name].read(whole, SIZE_HW, FRAME_HW)


def test_broken_boxes_are_left_out():
    assert codecs.SPACED.read("[5 5 5 9] [9 1 3 4] [1 2 3] [1 2 3 x]", (96, 96), (96, 96)) == []
    assert codecs.SHARES.read("[7, 7, 9, 9] [0.5, 0.1, 0.4, 0.2]", (96, 96), (96, 96)) == []


def test_numbers_beyond_the_edge_end_there():
    assert codecs.SPACED.read("[10 10 500 96]", (96, 96), (96, 96)) == [(10, 10, 96, 96)]


def test_the_last_location_is_1023():
    assert codecs.LOCATIONS.write((0, 0, 10, 10), (10, 10), FRAME_HW) == "<loc0000><loc0000><loc1023><loc1023>"
    assert codecs.LOCATIONS.write((9.99, 0, 10, 10), (10, 10), FRAME_HW) == "<loc0000><loc1022><loc1023><loc1023>"


@st.composite
def boxes(draw):
    """(box, size_hw, frame_hw): any box of any picture, many of them at the border or thinner than a pixel."""
    height, width = draw(st.integers(8, 4000)), draw(st.integers(8, 4000))
    sides = []
    for extent in (width, height):
        low = draw(st.floats(0, extent - 1e-2) | st.just(0.0))
        sides.append((low, draw(st.floats(low, extent, exclude_min=True) | st.just(float(extent)))))
    (x1, x2), (y1, y2) = sides
    return (x1, y1, x2, y2), (height, width), (draw(st.integers(28, 900)), draw(st.integers(28, 900)))


@pytest.mark.parametrize("name", ALL)
@given(case=boxes())
def test_round_trip_is_within_one_pixel_of_the_frame(name, case):
    box, size_hw, frame_hw = case
    (read,) = ALL[name].read(ALL[name].write(box, size_hw, frame_hw), size_hw, frame_hw)
    for got, true, side in zip(read, box, (1, 0, 1, 0), strict=True):
        assert abs(got - true) / size_hw[side] * frame_hw[side] <= 1 + 1e-9
