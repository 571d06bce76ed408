"""A tiny SmolVLM with random weights as an exported model, and pictures to show it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medclm.train.tiny import TinySize, make_tiny

SIZE = TinySize(
    image_size=32,
    patch_size=8,
    scale=1,
    vision_width=32,
    vision_layers=1,
    text_width=32,
    text_layers=2,
    heads=2,
    vocabulary=400,
)
TEXTS = ("Is there a nodule in the left lung? Reasoning: Answer: yes", "Where is the effusion? right lower zone")


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    """An exported model directory; the weights are wide apart so that no two tokens are equally probable."""
    import torch
    from transformers import AutoModelForImageTextToText

    folder = make_tiny(TEXTS, tmp_path_factory.mktemp("model"), size=SIZE)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    model.save_pretrained(folder)
    info = {
        "format_version": 1,
        "family": "idefics3",
        "base": "tiny",
        "dtype": "float32",
        "fingerprint": "0123456789abcdef",
        "trained_on": "none",
        "steps": 0,
    }
    (folder / "medclm.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="session")
def predictor(model_dir):
    """The predictor of :func:`model_dir`."""
    from medclm.serve.predictor import Predictor

    return Predictor(model_dir, device="cpu", threads=1)


@pytest.fixture
def picture():
    """A function from a seed and a size (width, height) to a grey 8-bit picture."""

    def make(seed: int = 0, size: tuple[int, int] = (48, 40)) -> Image.Image:
        values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
        return Image.fromarray(values)

    return make


@pytest.fixture
def png(picture):
    """A PNG file's bytes, 48 wide and 40 high."""
    buffer = io.BytesIO()
    picture(3).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def adapters(model_dir, tmp_path_factory):
    """Directories of two adapters of the base of :func:`model_dir`."""
    from tests.serve.local import make_adapter

    return [make_adapter(model_dir, tmp_path_factory.mktemp(f"adapter{n}") / "model", n) for n in (1, 2)]
