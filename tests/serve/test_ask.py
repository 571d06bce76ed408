"""One answer without a server, and what it says when something is missing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medclm.data.records import Step
from medclm.errors import MedclmError, UsageError
from medclm.serve import ask as module
from medclm.serve.ask import ask
from medclm.serve.overlay import color
from medclm.serve.predictor import Prediction, Request


def test_ask_equals_the_predictor(model_dir, predictor, png, picture, tmp_path):
    (tmp_path / "a.png").write_bytes(png)
    found = ask(model_dir, tmp_path / "a.png", " Is there a nodule? ", "answer", tmp_path / "out.png", max_new_tokens=6)
    direct = predictor.predict([Request(picture(3), "Is there a nodule?", "answer", 6)])[0]
    assert (found.text, found.answer) == (direct.text, direct.answer)
    assert Image.open(tmp_path / "out.png").size == (48 * 11, 40 * 11)


def test_overlay_shows_the_steps(tmp_path):
    steps = (Step(step="seed", text="a", box_xyxy=(100.0, 200.0, 300.0, 400.0)), Step(step="view", text="b"))
    module._write_overlay(Image.new("L", (512, 512)), Prediction("", "yes", 1.0, steps, True), tmp_path / "o.png")
    pixels = np.asarray(Image.open(tmp_path / "o.png"))
    assert tuple(pixels[300, 100]) == color(0)
    assert tuple(pixels[300, 200]) == (0, 0, 0)


@pytest.mark.parametrize("fault", ["model", "image", "question", "folder", "content"])
def test_what_is_missing_is_named(model_dir, png, tmp_path, fault):
    image = tmp_path / "a.png"
    image.write_bytes(b"hello" if fault == "content" else png)
    arguments = {
        "model_dir": tmp_path / "none" if fault == "model" else model_dir,
        "image_path": tmp_path / "none.png" if fault == "image" else image,
        "question": " " if fault == "question" else "Is it?",
        "overlay": tmp_path / "none" / "o.png" if fault == "folder" else None,
    }
    words = {
        "model": "model directory",
        "image": "image does not",
        "question": "empty",
        "folder": "folder",
        "content": "not an",
    }
    with pytest.raises(MedclmError, match=words[fault]) as caught:
        ask(**arguments)
    assert isinstance(caught.value, UsageError) == (fault != "content")
