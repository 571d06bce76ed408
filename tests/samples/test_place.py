from collections import Counter

import numpy as np
import pytest

from medclm.samples import place
from medclm.samples.fields import make_grid
from medclm.samples.lesions import Lesion


def rectangle(x1: int, y1: int, x2: int, y2: int, size: int = 60) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def lesion(mask: np.ndarray) -> Lesion:
    return Lesion(mask.astype(np.float32), mask, 0.1, 0.0, {"shape": "round"})


def test_box_is_tight_and_exclusive():
    assert place.box_of(rectangle(3, 5, 10, 6)) == (3.0, 5.0, 10.0, 6.0)


@pytest.mark.parametrize(
    ("other", "touch"), [((13, 0, 20, 10), False), ((12, 0, 20, 10), True), ((12, 13, 20, 20), False)]
)
def test_boxes_touch_within_three_pixels(other, touch):
    assert place.boxes_touch((0, 0, 10, 10), other) is touch


def test_zone_is_the_third_of_the_lungs_box():
    lung = rectangle(0, 10, 20, 40)  # thirds end at 20 and 30
    boxes = {"upper": (0, 10, 5, 28), "middle": (0, 15, 5, 25), "lower": (0, 25, 5, 35)}
    assert {name: place.zone_of(box, lung) for name, box in boxes.items()} == {n: n for n in boxes}


def test_accept_names_the_lobe_that_holds_most():
    lobes = {"left_upper_lobe": rectangle(0, 0, 30, 30), "left_lower_lobe": rectangle(0, 30, 30, 60)}
    found = place.accept("nodule", lesion(rectangle(5, 26, 10, 41)), "left", lobes, [])  # 4 rows above, 11 below
    assert found is not None
    assert (found.organ, found.box_xyxy) == ("left_lower_lobe", (5.0, 26.0, 10.0, 41.0))


def test_accept_refuses_a_lesion_outside_between_lobes_or_on_another():
    lobes = {"left_upper_lobe": rectangle(0, 0, 30, 30), "left_lower_lobe": rectangle(0, 30, 30, 60)}
    first = place.accept("mass", lesion(rectangle(2, 2, 12, 12)), "left", lobes, [])
    assert first is not None
    assert place.accept("mass", lesion(rectangle(25, 5, 40, 15)), "left", lobes, []) is None
    assert place.accept("mass", lesion(rectangle(5, 25, 15, 35)), "left", lobes, []) is None
    assert place.accept("mass", lesion(rectangle(13, 2, 20, 12)), "left", lobes, [first]) is None
    assert place.accept("mass", lesion(rectangle(2, 2, 4, 4)), "left", lobes, []) is None


def test_random_center_keeps_its_clearance():
    grid = make_grid(64, 128.0)
    space = rectangle(8, 8, 56, 56, 64)
    for seed in range(20):
        x, y = place.random_center(np.random.default_rng(seed), grid, space, 20.0)
        assert max(abs(x), abs(y)) <= 48 - 20 + 8


def test_labels_are_balanced_and_a_quarter_of_pictures_has_none():
    rng = np.random.default_rng(0)
    drawn = [place.choose_labels(rng) for _ in range(4000)]
    counts = Counter(label for labels in drawn for label in labels)
    assert 0.22 < sum(not labels for labels in drawn) / 4000 < 0.28
    assert max(map(len, drawn)) == 3
    assert set(counts) == set(place.LABELS)
    assert max(counts.values()) < 1.6 * min(counts.values())
    assert all(len(set(labels)) == len(labels) or labels[0] in place.REPEATABLE for labels in drawn)
