"""Tiny MONAI bundles written here: a picture and a volume one whose answers are known."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch

from medclm.data.display import Display
from medclm.data.records import Source
from medclm.data.segmenters import SegmenterInput, check_segmenter, make_segmenter, picture_input
from medclm.data.segmenters.monai_bundle import labels_of
from medclm.errors import MedclmError, UsageError

CHANNELS = {"0": "background", "1": "Liver", "2": "spleen", "3": "tumour"}


def bright_is_liver(dims: int) -> dict[str, torch.Tensor]:
    """Weights of a 1 x 1 convolution on values of 0 … 1: background 0.5, liver x, spleen 2 x - 0.9, tumour -9."""
    weight = torch.tensor([0.0, 1.0, 2.0, 0.0]).reshape(4, 1, *[1] * dims)
    return {"conv.weight": weight, "conv.bias": torch.tensor([0.5, 0.0, -0.9, -9.0])}


def write_bundle(root, dims: int = 2, top: float = 255.0, channels=None, scripted: bool = False):
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    keys = {"keys": "image"}
    config = {
        "bundle_root": ".",
        "device": "cuda",
        "network_def": {
            "_target_": "Convolution", "spatial_dims": dims, "in_channels": 1, "out_channels": 4, "kernel_size": 1,
            "conv_only": True,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **keys},
                {"_target_": "EnsureChannelFirstd", **keys},
                {"_target_": "ScaleIntensityRanged", **keys, "a_min": 0, "a_max": top, "b_min": 0, "b_max": 1},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8] * dims},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "/nowhere"},
            ],
        },
    }  # fmt: skip
    if dims == 3:
        transforms = config["preprocessing"]["transforms"]
        transforms.insert(2, {"_target_": "Orientationd", **keys, "axcodes": "RAS"})
    metadata = {
        "name": "toy",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "spatial_shape": [8] * dims}},
            "outputs": {"pred": {"channel_def": CHANNELS if channels is None else channels}},
        },
    }
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    if scripted:
        layer = getattr(torch.nn, f"Conv{dims}d")(1, 4, 1)
        layer.load_state_dict({name[5:]: value for name, value in bright_is_liver(dims).items()})
        torch.jit.script(layer).save(root / "models" / "model.ts")
    else:
        torch.save(bright_is_liver(dims), root / "models" / "model.pt")
    return root


@pytest.mark.parametrize("scripted", [False, True])
def test_a_picture_bundle(tmp_path, scripted):
    write_bundle(tmp_path / "b", scripted=scripted)
    check_segmenter(f"monai-bundle:{tmp_path / 'b'}")
    segmenter = make_segmenter(f"monai-bundle:{tmp_path / 'b'}", "cpu")
    assert segmenter.name.startswith("monai-bundle:toy@")
    picture = np.zeros((11, 9), np.uint8)
    picture[2:5, 3:7], picture[7:, :2] = 180, 255  # 0.71: liver; 1.0: spleen (1.1) before liver (1.0)
    (masks,) = segmenter([picture_input(picture)])
    assert sorted(masks) == ["liver", "spleen"]
    assert np.array_equal(masks["liver"], picture == 180)
    assert np.array_equal(masks["spleen"], picture == 255)


def test_a_volume_bundle_sees_the_volume_and_gives_slices(tmp_path):
    write_bundle(tmp_path / "b", dims=3, top=1000.0)
    values = np.zeros((5, 4, 3), np.int16)
    values[4, 1, 2] = 700
    affine = np.array([[-1.0, 0, 0, 9], [0, 2, 0, 1], [0, 0, 3, 0], [0, 0, 0, 1]])  # not RAS: the bundle turns it
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "ct.nii.gz")
    path, shown = str(tmp_path / "ct.nii.gz"), np.zeros((4, 5), np.uint8)
    slices = [
        SegmenterInput(str(k), shown, shown.astype(np.float32), Source(uri=path, reader="x", frame=k, volume=path),
                       Display(), "CT")
        for k in range(3)
    ]  # fmt: skip
    found = make_segmenter(f"monai-bundle:{tmp_path / 'b'}", "cpu")(slices)
    assert found[:2] == [{}, {}]
    assert np.argwhere(found[2]["liver"]).tolist() == [[1, 4]]


def test_a_bundle_of_no_organs_is_refused(tmp_path):
    write_bundle(tmp_path / "b", channels={"0": "background", "1": "whatever"})
    with pytest.raises(MedclmError, match="no organ of the vocabulary"):
        check_segmenter(f"monai-bundle:{tmp_path / 'b'}")


def test_weights_that_do_not_fit(tmp_path):
    root = write_bundle(tmp_path / "b")
    torch.save({"other.weight": torch.zeros(1)}, root / "models" / "model.pt")
    with pytest.raises(MedclmError, match="do not fit its network"):
        make_segmenter(f"monai-bundle:{root}", "cpu")


@pytest.mark.parametrize("name", ["configs/inference.json", "configs/metadata.json", "models/model.pt"])
def test_a_missing_file(tmp_path, name):
    root = write_bundle(tmp_path / "b")
    (root / name).unlink()
    with pytest.raises(UsageError, match="no whole MONAI bundle"):
        check_segmenter(f"monai-bundle:{root}")


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        ([[0, 2.0, 1.0]], [0, 2, 1]),
        ([[0, 1, 1, 0], [0, 0, 1, 1]], [-1, 0, 1, 1]),
        ([[0.2, -1, 3], [0.1, 5, 4]], [0, 1, 1]),
    ],
    ids=["labels", "organs that overlap", "scores"],
)
def test_labels_of_what_a_chain_gives(output, labels):
    assert labels_of(np.array(output)).tolist() == labels
