"""The small U-Net: its files, its batching, its training, and the weights that are shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medclm.data.images import decode_png, encode_png
from medclm.data.segmenters import make_segmenter, picture_input
from medclm.data.segmenters.unet import SHIPPED, Unet, UnetFacts, build_network, network_input, save_unet
from medclm.data.segmenters.unet_train import evaluate_unet, train_unet
from medclm.errors import MedclmError, UsageError

CHANNELS = (4, 8, 8)


def stripe_dataset(root, count: int, seed: int) -> str:
    """Pictures with one bright square: "left_lung" when it lies on the picture's right, else "right_lung"."""
    rng = np.random.default_rng(seed)
    entries = []
    (root / "images").mkdir(parents=True)
    for i in range(count):
        picture, side = rng.integers(0, 40, (64, 64), dtype=np.uint8), ("right", "left")[i % 2]
        x, y = int(rng.integers(2, 8)) + 38 * (i % 2), int(rng.integers(8, 40))
        mask = np.zeros((64, 64), np.uint8)
        mask[y : y + 16, x : x + 16] = 255
        picture[mask > 0] += 150
        (root / "images" / f"{i}.png").write_bytes(encode_png(picture))
        (root / "masks" / f"{i}").mkdir(parents=True)
        (root / "masks" / f"{i}" / f"{side}_lung.png").write_bytes(encode_png(mask))
        entries.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 64})
    (root / "annotations.json").write_text(json.dumps({"images": entries, "annotations": [], "categories": []}))
    return str(root)


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


def test_training_learns_sides_by_position_and_writes_a_card(tmp_path, monkeypatch):
    from medclm.data.segmenters import unet_train

    monkeypatch.setattr(unet_train, "SIZE_HW", (64, 64))
    monkeypatch.setattr(unet_train, "CHANNELS", (8, 16, 16, 16))
    train, held_out = stripe_dataset(tmp_path / "train", 24, 0), stripe_dataset(tmp_path / "test", 8, 1)
    seen = []
    facts = train_unet(
        train, str(tmp_path / "net"), 120, device="cpu", held_out_dir=held_out, progress=lambda *a: seen.append(a)
    )
    assert facts.organs == ("left_lung", "right_lung")
    assert min(facts.dice.values()) > 0.8
    assert [step for step, _, _ in seen] == list(range(1, 121))
    assert seen[-1][2] < seen[0][2]
    card = (tmp_path / "net.md").read_text()
    assert "120 steps" in card
    assert f"| left_lung | {facts.dice['left_lung']:.3f} |" in card
    assert evaluate_unet(str(tmp_path / "net"), held_out, "cpu") == facts.dice
    left_picture = decode_png((tmp_path / "test" / "images" / "1.png").read_bytes())
    (organs,) = make_segmenter(f"unet:{tmp_path / 'net'}", "cpu")([picture_input(left_picture)])
    assert organs["left_lung"].sum() > 4 * organs.get("right_lung", np.zeros(1)).sum()


def test_equal_arguments_give_equal_weights(tmp_path, monkeypatch):
    from medclm.data.segmenters import unet_train

    monkeypatch.setattr(unet_train, "SIZE_HW", (32, 32))
    monkeypatch.setattr(unet_train, "CHANNELS", CHANNELS)
    data = stripe_dataset(tmp_path / "train", 4, 0)
    hashes = [train_unet(data, str(tmp_path / f"net{i}"), 3, seed=seed).sha256 for i, seed in enumerate((7, 7, 8))]
    assert hashes[0] == hashes[1] != hashes[2]


def test_nothing_to_learn_from(tmp_path):
    data = stripe_dataset(tmp_path / "train", 2, 0)
    for path in (tmp_path / "train" / "masks").glob("*/*.png"):
        path.unlink()
    with pytest.raises(UsageError, match="nothing to learn"):
        train_unet(data, str(tmp_path / "net"), 1)


def test_shipped_weights_are_small_and_good(tmp_path):
    """The weights that come with the package, on phantoms of a seed that they were not trained on."""
    from medclm.samples.phantom import write_phantom

    stem = SHIPPED["phantom"]
    assert stem.with_suffix(".safetensors").stat().st_size < 1_000_000
    assert stem.with_suffix(".md").is_file()
    write_phantom(tmp_path / "phantom", 6, seed=3000)
    dice = evaluate_unet("phantom", str(tmp_path / "phantom"), "cpu")
    assert np.mean(list(dice.values())) >= 0.88
    assert min(dice["left_lung"], dice["right_lung"], dice["heart"]) >= 0.9
