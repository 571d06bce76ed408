"""Sides, zones and the midline from masks drawn by hand. The patient's right is on the picture's left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medclm.data import derive


def mask(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in line] for line in text.split()])


def drawn(pixels: np.ndarray) -> str:
    return " ".join("".join("#" if p else "." for p in row) for row in pixels)


BOTH = "##...## ##...## .#...#."


def test_two_parts_are_two_sides():
    sides = derive.split_sides(mask(BOTH))
    assert drawn(sides["right"]) == "##..... ##..... .#....."
    assert drawn(sides["left"]) == ".....## .....## .....#."


def test_parts_that_touch_are_cut_at_the_valley():
    sides = derive.split_sides(mask("###.### ###.### #######"))
    assert drawn(sides["right"]) == "###.... ###.... ###...."
    assert drawn(sides["left"]) == "....### ....### ...####"


@pytest.mark.parametrize(
    ("text", "middle_x", "side"),
    [
        (".##..... .##.....", None, "right"),
        (".....##. .....##.", None, "left"),
        (".....##. .....##.", 7.5, "right"),
        (".####### ........", 2.0, "left"),
    ],
    ids=["left of the middle", "right of the middle", "the spine is farther right", "one pixel over the midline"],
)
def test_one_organ_alone_lies_on_the_side_of_its_larger_part(text, middle_x, side):
    sides = derive.split_sides(mask(text), middle_x)
    assert drawn(sides[side]) == text
    assert not sides[{"left": "right", "right": "left"}[side]].any()


def test_islands_go_whole_to_the_side_they_lie_on():
    sides = derive.split_sides(mask("##.#...## ##.....## ##.....##"))
    assert drawn(sides["right"]) == "##.#..... ##....... ##......."
    assert drawn(sides["left"]) == ".......## .......## .......##"


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.none() | st.floats(0, 9))
def test_the_sides_share_nothing_and_lose_nothing(pixels, middle_x):
    sides = derive.split_sides(pixels, middle_x)
    assert not (sides["left"] & sides["right"]).any()
    assert np.array_equal(sides["left"] | sides["right"], pixels)


def test_pairs_without_their_parts_are_split():
    found = derive.derived({"lungs": mask(BOTH), "heart": mask("...#... ...#... ...#...")})
    assert sorted(found) == ["heart", "left_lung", "lungs", "right_lung"]
    assert drawn(found["right_lung"]) == "##..... ##..... .#....."


def test_nothing_that_is_there_is_replaced():
    only = {"lungs": mask(BOTH), "left_lung": mask("......# ......# .......")}
    assert derive.derived(only) == only
    empty_side = derive.derived({"kidneys": mask("##..... ......."), "spine": mask("...#... ...#...")})
    assert sorted(empty_side) == ["kidneys", "right_kidney", "spine"], "a side without a pixel is not there"


def test_zones_are_thirds_of_the_height():
    lung = mask(".... #... ##.. ##.. ##.. #... #... ....")
    zones = derive.lung_zones(lung)
    assert list(zones) == ["upper", "middle", "lower"]
    assert [np.flatnonzero(part.any(axis=1)).tolist() for part in zones.values()] == [[1, 2], [3, 4], [5, 6]]
    assert np.array_equal(sum(part.astype(int) for part in zones.values()), lung.astype(int))
    assert not any(part.any() for part in derive.lung_zones(np.zeros((3, 3), bool)).values())


TALL = np.ones((9, 4), bool)


@pytest.mark.parametrize(("top", "zone"), [(0, "upper"), (3.5, "middle"), (8, "lower"), (-9, "upper"), (20, "lower")])
def test_the_third_that_holds_the_centre(top, zone):
    assert derive.zone_of((0, top, 1, top + 1), "left_lung", {"left_lung": TALL}) == zone


def test_zones_of_a_segmenter_decide():
    masks = {"left_lung": TALL, "left_apical_lung_zone": TALL.copy(), "left_lower_lung_zone": TALL.copy()}
    masks["left_apical_lung_zone"][6:] = False  # reaches farther down than a third
    masks["left_lower_lung_zone"][:6] = False
    assert derive.zone_of((0, 4, 2, 6), "left_lung", masks) == "upper"
    assert derive.zone_of((0, 5, 2, 9), "left_lung", masks) == "lower"
    assert derive.zone_of((0, 4, 2, 6), "right_lung", masks) is None


def test_the_midline_is_the_spine_or_lies_between_the_lungs():
    lungs = {"right_lung": mask("##....."), "left_lung": mask(".....##")}
    assert derive.midline_x({"spine": mask("...##.. ...##.."), **lungs}) == 4.0
    assert derive.midline_x(lungs) == 3.5
    assert derive.midline_x({"right_lung": lungs["right_lung"]}) is None


@pytest.mark.parametrize(
    ("lesion", "side"),
    [("##.......", "right"), ("......##.", "left"), ("...###...", "midline"), ("#######..", "midline")],
)
def test_where_a_lesion_lies(lesion, side):
    assert derive.side_of(mask(lesion), {"spine": mask("....#....")}) == side
    assert derive.side_of(mask(lesion), {}) is None


def test_a_real_mask_of_both_lungs_agrees_with_the_boxes_of_each(real_data):
    """83 radiographs: one mask of both lungs each, and boxes of the left and of the right lung by other people."""
    import json

    from medclm.data import boxes
    from medclm.data.segmenters.unet_data import load_examples

    root = real_data("cxr-lung-masks-ccby83")
    document = json.loads((root / "lung_boxes_coco.json").read_text())
    names = {image["id"]: image["file_name"].rpartition(".")[0] for image in document["images"]}
    organs = {1: "right_lung", 2: "left_lung"}
    masks = {example.image_id: example.masks for example in load_examples(str(root), "lungs")}
    overlaps = []
    for annotation in document["annotations"]:
        own = masks[names[annotation["image_id"]]][organs[annotation["category_id"]]]
        overlaps.append(boxes.iou_xyxy([boxes.box_from_xywh(annotation["bbox"])], [boxes.box_from_mask(own)])[0, 0])
    assert len(overlaps) == 166
    assert min(overlaps) > 0.5, "a swapped side would hardly overlap"
