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


@pytest.fixture(scope="module")
def servers(predictor):
    """Addresses: the real tiny model; the one with known boxes, within small limits, within large ones, with a key."""
    from medclm.serve.api import Limits, make_api
    from medclm.serve.keys import hash_keys
    from tests.serve.browsing import LIMITS, Said, Server
    from tests.serve.local import Local

    said = Said(predictor)
    apps = {
        "real": make_api(Local(predictor), LIMITS),
        "said": make_api(said, LIMITS),
        "large": make_api(said, Limits(name="tiny")),
        "keyed": make_api(said, LIMITS, hash_keys(["sesame"])),
    }
    started = {name: Server(app) for name, app in apps.items()}
    yield {name: server.address for name, server in started.items()}
    for server in started.values():
        server.stop()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    from tests.serve.browsing import CHROMIUM

    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, servers):
    """A function that opens the page of a server. At the end nothing may have left the origin or failed in a script."""
    contexts, asked, faults = [], set(), []

    def show(name: str = "said", width: int = 1280, height: int = 860, **more):
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **more)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if "status of 4" not in m.text else None)
        page.goto(servers[name])
        contexts.append(context)
        return page

    yield show
    for context in contexts:
        context.close()
    outside = [url for url in asked if not url.startswith((*servers.values(), "data:"))]
    assert outside == []
    assert faults == []


@pytest.fixture(scope="module")
def ct() -> bytes:
    """A CT slice of 128 x 128."""
    from pydicom.data import get_testdata_file

    return Path(get_testdata_file("CT_small.dcm")).read_bytes()
