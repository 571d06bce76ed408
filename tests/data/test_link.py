"""Linking on a 20 x 20 picture whose coverages can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import boxes, link
from medclm.data.records import UNCLEAR, Spacing
from tests.data.helpers import LEFT_LUNG, RIGHT_LUNG, SIZE_HW, finding, mask_of


def scene(masks, **more) -> link.Scene:
    values = np.zeros(SIZE_HW, np.float32)
    known = {"spacing_mm": Spacing(row=2.0, col=0.5), "is_frontal": True}
    return link.Scene(values, link.with_parents(masks), **{**known, **more})


LOBES = {
    "left_upper_lobe": mask_of((11, 2, 18, 8)),
    "left_lower_lobe": mask_of((11, 8, 18, 14)),
    "right_lung": mask_of(RIGHT_LUNG),
}


def test_parents_are_the_union_of_their_parts():
    masks = link.with_parents(LOBES)
    assert set(masks) == {*LOBES, "left_lung", "lungs"}
    assert masks["left_lung"].sum() == 7 * 12
    assert masks["lungs"].sum() == 2 * 7 * 12


def test_a_given_parent_is_kept_as_it_is():
    given = mask_of((11, 2, 12, 3))
    assert link.with_parents({**LOBES, "left_lung": given})["left_lung"] is given


def test_the_deepest_organ_that_covers_enough_is_the_host():
    found = link.link(finding(box_xyxy=(12.0, 3.0, 15.0, 6.0)), scene(LOBES))
    assert (found.organ, found.side, found.zone, found.coverage) == ("left_upper_lobe", "left", "upper", 1.0)
    assert found.organ_path == ("body", "thorax", "lungs", "left_lung", "left_upper_lobe")


def test_a_lesion_shared_by_two_lobes_goes_to_their_lung():
    found = link.link(finding(box_xyxy=(12.0, 6.0, 15.0, 10.0)), scene(LOBES))  # 2 of 4 rows in either lobe
    assert (found.organ, found.side, found.zone) == ("left_lung", "left", "middle")


def test_a_mask_over_both_lungs_goes_to_the_lungs_bilateral():
    both = mask_of((3, 4, 8, 6)) | mask_of((12, 4, 17, 6))
    one = finding("opacity", (3.0, 4.0, 17.0, 6.0), mask_rle=boxes.encode_rle(both))
    found = link.link(one, scene(LOBES))
    assert (found.organ, found.side, found.coverage) == ("lungs", "bilateral", 1.0)


def test_too_little_coverage_is_unclear_and_says_no_side():
    found = link.link(finding(box_xyxy=(9.0, 15.0, 12.0, 18.0)), scene(LOBES))
    assert (found.organ, found.side, found.zone, found.coverage) == (UNCLEAR, None, None, 0.0)


def test_an_organ_that_cannot_hold_the_finding_is_no_host():
    masks = {**LOBES, "heart": mask_of((11, 2, 18, 14))}
    assert link.link(finding("nodule"), scene(masks)).organ == "left_upper_lobe"
    assert link.link(finding("cardiomegaly"), scene(masks)).organ == "heart"


def test_iou_argmax_prefers_an_organ_as_small_as_the_lesion():
    rib = mask_of((11, 3, 15, 6))
    masks = {**LOBES, "left_rib_3": rib}
    assert link.link(finding(box_xyxy=(12.0, 3.0, 15.0, 6.0)), scene(masks, method="iou-argmax")).organ == "left_rib_3"
    assert link.link(finding(box_xyxy=(12.0, 3.0, 15.0, 6.0)), scene(masks)).organ == "left_upper_lobe"


@pytest.mark.parametrize(("row", "zone"), [(2.0, "upper"), (7.0, "middle"), (12.0, "lower")])
def test_zones_are_thirds_of_the_lung_from_the_top(row, zone):
    found = link.link(finding(box_xyxy=(12.0, row, 13.0, row + 1)), scene({"left_lung": mask_of(LEFT_LUNG)}))
    assert found.zone == zone


def test_an_axial_slice_has_no_zones():
    assert link.link(finding(), scene(LOBES, is_frontal=False)).zone is None


def test_size_in_mm_uses_the_spacing_of_each_axis():
    assert link.link(finding(box_xyxy=(12.0, 3.0, 15.0, 6.0)), scene(LOBES)).size_mm == 6.0  # 3 rows x 2 mm
    assert link.link(finding(box_xyxy=(11.0, 3.0, 17.0, 4.0)), scene(LOBES)).size_mm == 3.0  # 6 columns x 0.5 mm
    assert link.link(finding(), scene(LOBES, spacing_mm=None)).size_mm is None


def test_size_of_a_mask_is_its_longest_diameter():
    line = np.zeros(SIZE_HW, bool)
    line[3:7, 12] = True  # 4 pixels down, centres 3 x 2 mm apart, plus one pixel of (2 + 0.5) / 2 mm
    one = finding(box_xyxy=(12.0, 3.0, 13.0, 7.0), mask_rle=boxes.encode_rle(line))
    assert link.link(one, scene(LOBES)).size_mm == 7.25


def test_appearance_is_measured_against_the_host():
    values = np.zeros(SIZE_HW, np.float32)
    values[::2] = 10  # the host's pixels outside the lesion vary by 5
    values[3:6, 12:15] = 100
    bright = link.Scene(values, link.with_parents(LOBES), None, True)
    found = link.link(finding(box_xyxy=(12.0, 3.0, 15.0, 6.0)), bright).attributes
    assert found == {"contrast": "brighter", "shape": "round", "share_of_organ": "21 %", "mean_value": "100"}
    dark = link.Scene(-values, link.with_parents(LOBES), None, True)
    assert link.link(finding(), dark).attributes["contrast"] == "darker"


def test_what_the_dataset_annotates_wins_over_what_is_measured():
    one = finding(attributes={"shape": "lobulated"})
    assert link.link(one, scene(LOBES)).attributes["shape"] == "lobulated"


def test_zones_of_a_lung_hold_no_finding_but_its_lobes_do():
    zones = {"left_upper_lung_zone": mask_of((11, 2, 18, 6)), "left_lower_lung_zone": mask_of((11, 6, 18, 14))}
    found = link.link(finding(box_xyxy=(12.0, 2.0, 15.0, 5.0)), scene({**LOBES, **zones}))
    assert (found.organ, found.zone) == ("left_upper_lobe", "upper")


def test_the_zone_is_the_segmenters_where_it_has_zones():
    lobes = {"left_upper_lobe": LOBES["left_upper_lobe"]}
    zones = {"left_upper_lung_zone": mask_of((11, 2, 18, 4)), "left_middle_lung_zone": mask_of((11, 4, 18, 8))}
    lesion = finding(box_xyxy=(12.0, 3.0, 15.0, 4.0))
    assert link.link(lesion, scene({**LOBES, **zones})).zone == "upper"
    lower = finding(box_xyxy=(12.0, 4.0, 15.0, 6.0))
    assert link.link(lower, scene({**LOBES, **zones})).zone == "middle", "a third of the lung's height would say upper"
    assert link.link(lower, scene(lobes, is_frontal=False)).zone is None


@pytest.mark.parametrize(
    ("box", "side"),
    [((7.0, 8.0, 9.0, 10.0), "right"), ((11.0, 8.0, 13.0, 10.0), "left"), ((8.0, 8.0, 12.0, 10.0), "midline")],
)
def test_a_lesion_in_an_organ_of_the_middle_has_the_side_it_lies_on(box, side):
    masks = {"heart": mask_of((6, 6, 14, 14)), "spine": mask_of((9, 0, 11, 20))}
    lesion = finding("calcification", box)
    assert link.link(lesion, scene(masks, shows_sides=True)).side == side
    assert link.link(lesion, scene(masks)).side == "midline", "a lateral view does not show sides"
    assert link.link(lesion, scene({"heart": masks["heart"]}, shows_sides=True)).side == "midline"
