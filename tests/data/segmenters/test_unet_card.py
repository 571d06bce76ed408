from __future__ import annotations

from medclm.data.segmenters.unet import UnetFacts
from medclm.data.segmenters.unet_card import card

TRAINING = {
    "data": {"description": "toy"}, "held_out": None, "folds": 5, "pictures": 83, "steps": 1400, "batch_size": 8,
    "seed": 0, "seconds": 600, "parameters": 209434, "torch": "2", "monai": "1", "mask_organ": None,
    "patients": 83, "note": "masks by them",
    "sources": [{"licence": "CC BY 4.0", "url": "https://example.org", "doi": "10.1/x", "pictures": 83}],
}  # fmt: skip


def facts(**more) -> UnetFacts:
    return UnetFacts(organs=("heart", "liver"), size_hw=(96, 128), channels=(4, 8), training=TRAINING, **more)


def test_the_card_says_how_good_it_is():
    text = card("toy", facts(dice={"heart": 0.9, "liver": 0.8}, worst={"heart": 0.5, "liver": 0.7}))
    for line in (
        "# toy",
        "| heart | 0.900 | 0.500 |",
        "| **all** | **0.850** | **0.500** |",
        "Input 128 x 96 pixels, standardised; one sigmoid output an organ.",
        "medclm data train-segmenter --data DIR --out STEM --steps 1400 --batch-size 8 --size 96 --seed 0 --folds 5",
        "The note that comes with the data: masks by them",
        "- 83 from https://example.org (DOI 10.1/x), CC BY 4.0",
    ):
        assert line in text.splitlines(), line
    assert "each of 5 folds in turn" in text
    assert "The data names no patients" in text


def test_a_card_of_older_files_and_of_nothing_measured():
    assert "| heart | 0.900 | - |" in card("toy", facts(dice={"heart": 0.9}))
    assert "Not measured" in card("toy", facts())
