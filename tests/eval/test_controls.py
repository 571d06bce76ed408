import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medclm.eval.benchmarks import Item
from medclm.eval.controls import blank_image, elsewhere, hide, majority_answer, majority_answers, shuffled_images


def item(image: str, patient: str, has_picture: bool = True) -> Item:
    return Item(image + "q", image, patient, b"x" if has_picture else None, "?", "yes", "is-there", True)


def test_blank_image_is_uniform_grey_of_the_same_size_and_mode():
    for mode in ("L", "RGB"):
        blank = blank_image(Image.new(mode, (30, 20), 7 if mode == "L" else (7, 8, 9)))
        assert (blank.size, blank.mode) == ((30, 20), mode)
        assert np.unique(np.asarray(blank)).tolist() == [128]


def test_shuffled_image_is_of_another_patient_and_seeded():
    items = [item(f"im{n}", f"p{n // 3}") for n in range(9)]
    patients = {i.image_id: i.patient_id for i in items}
    for seed in range(20):
        chosen = shuffled_images(items, seed)
        assert chosen.keys() == patients.keys()
        assert all(patients[name] != patients[other] for name, other in chosen.items())
    assert shuffled_images(items, 1) == shuffled_images(items[::-1], 1) != shuffled_images(items, 2)


def test_no_shuffled_image_without_another_patient():
    assert shuffled_images([item("a", "p"), item("b", "p")]) == {}
    assert shuffled_images([item("a", "p"), item("b", "q", has_picture=False)]) == {}


def test_majority_by_type_with_ties_and_unseen_types():
    answers = majority_answers([("side", "left"), ("side", "Right"), ("side", "right"), ("what", "b"), ("what", "a")])
    assert answers == {"side": "right", "what": "a", "*": "right"}
    assert majority_answer(answers, "zone") == "right"
    assert majority_answer({}, "zone") == ""


def test_hiding_fills_the_boxes_with_the_mean_and_nothing_else():
    image = Image.new("L", (10, 10), 100)
    image.paste(200, (2, 3, 5, 7))  # 12 pixels: mean 112
    hidden = np.asarray(hide(image, [(2, 3, 5, 7)]))
    assert np.unique(hidden[3:7, 2:5]).tolist() == [112]
    assert (np.delete(hidden.ravel(), [10 * y + x for y in range(3, 7) for x in range(2, 5)]) == 100).all()
    assert np.asarray(image)[3, 2] == 200
    assert np.asarray(hide(image.convert("RGB"), [(0, 0, 1, 1)]))[0, 0].tolist() == [112, 112, 112]


@given(st.integers(0, 70), st.integers(0, 50), st.integers(5, 25), st.integers(5, 25), st.integers(0, 99))
def test_the_other_place_has_the_same_size_and_touches_nothing(x, y, width, height, seed):
    box = (float(x), float(y), float(x + width), float(y + height))
    ((a, b, c, d),) = elsewhere([box], (80, 100), random.Random(seed))
    assert (c - a, d - b) == (pytest.approx(width), pytest.approx(height))
    assert 0 <= a < c <= 100
    assert 0 <= b < d <= 80
    assert a >= box[2] or c <= box[0] or b >= box[3] or d <= box[1]


def test_no_other_place_in_a_full_picture():
    assert elsewhere([(0, 0, 60, 60)], (60, 80), random.Random(0)) == ()
    assert elsewhere([(0, 0, 200, 60)], (60, 80), random.Random(0)) == ()
