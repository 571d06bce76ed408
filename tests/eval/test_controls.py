import numpy as np
from PIL import Image

from medclm.eval.benchmarks import Item
from medclm.eval.controls import blank_image, majority_answer, majority_answers, shuffled_images


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
