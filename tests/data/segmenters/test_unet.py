"""The small U-Net: its files, its batching, and the weights that are shipped."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medclm.data.segmenters import check_segmenter, make_segmenter, picture_input
from medclm.data.segmenters.unet import SHIPPED, Unet, UnetFacts, build_network, load, network_input, save_unet
from medclm.data.segmenters.unet_data import load_examples
from medclm.data.segmenters.unet_train import dice, evaluate_unet
from medclm.errors import MedclmError, UsageError

CHANNELS = (4, 8, 8)


@pytest.fixture
def stem(tmp_path):
    torch.manual_seed(0)
    network = build_network(2, CHANNELS)
    save_unet(tmp_path / "toy", network, UnetFacts(organs=("heart", "liver"), size_hw=(32, 32), channels=CHANNELS))
    return tmp_path / "toy"


def test_input_is_standardised_and_knows_where_it_is():
    pictures = torch.arange(12.0).view(1, 1, 3, 4) * 7 + 5
    out = network_input(pictures)
    assert out.shape == (1, 3, 3, 4)
    assert out[0, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert out[0, 0].std().item() == pytest.approx(1, abs=1e-5)
    assert out[0, 1, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert out[0, 2, :, 0].tolist() == [-1, 0, 1]
    assert torch.isfinite(network_input(torch.zeros(1, 1, 2, 2))).all()


class Threshold(torch.nn.Module):
    """A network whose answer is known: bright is the first organ, nothing is the second."""

    def forward(self, x):
        return torch.stack([x[:, 0], torch.full_like(x[:, 0], -1)], dim=1)


def test_masks_come_back_at_the_size_and_in_the_order_of_the_pictures():
    facts = UnetFacts(organs=("heart", "liver"), size_hw=(32, 32), channels=CHANNELS)
    segmenter = Unet("toy", Threshold(), facts, "cpu")
    shapes = [(64, 48), (64, 48), (20, 70), (64, 48)]
    pictures = []
    for i, shape in enumerate(shapes):
        picture = np.zeros(shape, np.uint8)
        picture[: 4 * (i + 1), shape[1] // 2 :] = 200
        pictures.append(picture)
    found = segmenter([picture_input(picture) for picture in pictures])
    for picture, organs in zip(pictures, found, strict=True):
        assert list(organs) == ["heart"]  # the empty one is left out
        assert organs["heart"].dtype == bool
        assert organs["heart"].shape == picture.shape
        differ = organs["heart"] != (picture > 0)
        assert differ.mean() < 0.08  # only the border moves in the resizing
    assert segmenter([]) == []


def test_a_batch_gives_what_single_pictures_give(stem):
    segmenter = make_segmenter(f"unet:{stem}", device="cpu")
    pictures = list(np.random.default_rng(0).integers(0, 255, (5, 40, 30), dtype=np.uint8))
    together = segmenter([picture_input(picture) for picture in pictures])
    alone = [segmenter([picture_input(picture)])[0] for picture in pictures]
    for a, b in zip(together, alone, strict=True):
        assert a.keys() == b.keys()
        for organ in a:
            assert (a[organ] != b[organ]).mean() < 1e-3


def test_name_carries_the_weights_hash(stem):
    facts = json.loads(stem.with_suffix(".json").read_text())
    assert make_segmenter(f"unet:{stem}", "cpu").name == f"unet:toy@{facts['sha256'][:8]}"


def test_missing_weights_name_the_command(tmp_path):
    with pytest.raises(UsageError, match="train-segmenter"):
        make_segmenter(f"unet:{tmp_path / 'none'}")


@pytest.mark.parametrize(
    "change",
    [{"sha256": "0" * 64}, {"organs": ["heart", "hart"]}, {"organs": ["heart"]}, {"size_hw": "big"}, {"extra": 1}],
)
def test_files_that_do_not_belong_together(stem, change):
    facts = json.loads(stem.with_suffix(".json").read_text())
    stem.with_suffix(".json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(MedclmError, match="cannot be used"):
        make_segmenter(f"unet:{stem}")


def test_weights_are_stored_in_half_precision_and_mean_the_same(stem):
    torch.manual_seed(0)
    network = build_network(2, CHANNELS).eval()
    stored = load(str(stem), "cpu").network
    tensors = load_file(stem.with_suffix(".safetensors"))
    assert {tensor.dtype for name, tensor in tensors.items() if "num_batches" not in name} == {torch.float16}
    pixels = network_input(torch.rand(1, 1, 32, 32) * 255)
    with torch.inference_mode():
        assert (network(pixels) - stored(pixels)).abs().max() < 0.01


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_belong_together(name):
    stem = SHIPPED[name]
    assert stem.with_suffix(".safetensors").stat().st_size < 1_000_000
    assert stem.with_suffix(".md").is_file()
    check_segmenter(f"unet:{name}")


def test_the_shipped_phantom_weights_are_good(tmp_path):
    """On phantoms of a seed that they were not trained on."""
    from medclm.samples.phantom import write_phantom

    write_phantom(tmp_path / "phantom", 6, seed=3000)
    dice = evaluate_unet("phantom", str(tmp_path / "phantom"), "cpu")
    assert np.mean(list(dice.values())) >= 0.88
    assert min(dice["left_lung"], dice["right_lung"], dice["heart"]) >= 0.9


def test_the_shipped_lung_weights_know_left_from_right(real_data):
    """On five of the radiographs that they were trained on (their card has the held-out figures)."""
    segmenter = load("cxr-lungs", "cpu")
    examples = load_examples(str(real_data("cxr-lung-masks-ccby83")), "lungs")[::17]
    scores = np.array([dice(segmenter, example) for example in examples])
    assert scores.shape == (5, 2)
    assert scores.mean() >= 0.93
    assert min(segmenter.facts.dice.values()) >= 0.93, "held out, by cross-validation"


def test_a_check_does_not_import_torch():
    code = (
        "import sys; from medclm.data.segmenters import check_segmenter; check_segmenter('unet:phantom');"
        "assert not {'torch', 'monai'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
