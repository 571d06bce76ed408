"""Saved networks: a scripted and an exported one whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medclm.data.segmenters import check_segmenter, make_segmenter, picture_input
from medclm.errors import MedclmError, UsageError

FACTS = {"labels": {"0": "heart", "2": "lung_left"}, "size_hw": [16, 16]}


class Levels(torch.nn.Module):
    """Channel 0: brighter than half; channel 1: everything; channel 2: brighter than 0.9."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grey = x.mean(dim=1)
        return torch.stack([grey - 0.5, torch.ones_like(grey) * 0.05, grey - 0.9], dim=1)


def write(folder, kind: str = "pt", **facts) -> str:
    network = Levels().eval()
    channels = facts.get("channels", 1)
    if kind == "pt":
        torch.jit.script(network).save(folder / "net.pt")
    else:
        torch.export.save(torch.export.export(network, (torch.zeros(1, channels, 16, 16),)), folder / "net.pt2")
    (folder / "net.json").write_text(json.dumps({**FACTS, **facts}))
    return f"torchscript:{folder / 'net'}.{kind}"


def three_levels() -> np.ndarray:
    picture = np.zeros((32, 32), np.uint8)
    picture[:, 8:16], picture[:, 16:] = 180, 255
    return picture


@pytest.mark.parametrize("kind", ["pt", "pt2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_channel_is_an_organ(tmp_path, kind, channels):
    segmenter = make_segmenter(write(tmp_path, kind, channels=channels), "cpu")
    assert segmenter.name.startswith("torchscript:net@")
    (masks,) = segmenter([picture_input(three_levels())])
    assert sorted(masks) == ["heart", "left_lung"], "channel 1 has no label"
    assert masks["heart"].dtype == bool
    assert masks["heart"].shape == (32, 32)
    inner = np.r_[2:6, 10:14, 18:30]  # away from the borders, which resizing blurs
    assert masks["heart"][5, inner].tolist() == [False] * 4 + [True] * 16
    assert masks["left_lung"][5, inner].tolist() == [False] * 8 + [True] * 12


def test_the_highest_channel_wins(tmp_path):
    segmenter = make_segmenter(write(tmp_path, labels={"0": "heart"}, output="softmax"), "cpu")
    dark, bright = np.zeros((16, 16), np.uint8), np.full((16, 16), 255, np.uint8)
    assert segmenter([picture_input(dark)]) == [{}], "channel 1 wins: 0.05 against -0.5"
    (masks,) = segmenter([picture_input(bright)])
    assert masks["heart"].all()


def test_grey_values_are_standardised(tmp_path):
    segmenter = make_segmenter(write(tmp_path, mean=0.4, std=0.5), "cpu")
    (masks,) = segmenter([picture_input(np.full((16, 16), 200, np.uint8))])
    assert sorted(masks) == ["heart"], "(200 / 255 - 0.4) / 0.5 is 0.77: above 0.5, below 0.9"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"labels": {"0": "hart"}}, "no known organ"),
        ({"labels": {}}, "JSON file of the segmenter is wrong"),
        ({"std": 0}, "JSON file of the segmenter is wrong"),
        ({"colour": 1}, "JSON file of the segmenter is wrong"),
    ],
)
def test_wrong_facts(tmp_path, change, fault):
    with pytest.raises(MedclmError, match=fault):
        check_segmenter(write(tmp_path, **change))


def test_labels_beyond_the_output(tmp_path):
    segmenter = make_segmenter(write(tmp_path, labels={"3": "heart"}), "cpu")
    with pytest.raises(MedclmError, match="not as its labels say"):
        segmenter([picture_input(three_levels())])


@pytest.mark.parametrize("kind", ["pt", "pt2"])
def test_a_file_that_is_no_network(tmp_path, kind):
    spec = write(tmp_path)
    (tmp_path / f"net.{kind}").write_bytes(b"no network")
    check_segmenter(spec)
    with pytest.raises(MedclmError, match="cannot be loaded"):
        make_segmenter(f"torchscript:{tmp_path / 'net'}.{kind}", "cpu")


def test_missing_files(tmp_path):
    with pytest.raises(UsageError, match="not there"):
        check_segmenter(f"torchscript:{tmp_path / 'net.pt'}")


def test_new_weights_are_a_new_name(tmp_path):
    names = {make_segmenter(write(tmp_path, mean=mean), "cpu").name for mean in (0.0, 0.1)}
    assert len(names) == 2
