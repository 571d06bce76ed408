"""Every family of base models through the engine: exactly the tokens of plain ``generate``, one request at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medclm.serve.engine import Engine
from medclm.serve.predictor import Predictor, Request
from medclm.train.collate import FORCED, prompts
from tests.train.tiny_families import MAKERS, write


@pytest.fixture(params=MAKERS)
def tiny(request, tmp_path):
    """A tiny predictor of one family; weights are wide apart so that no two tokens are equally probable."""
    folder = write(request.param, tmp_path)
    info = {"format_version": 1, "family": request.param, "base": "tiny", "dtype": "float32", "fingerprint": "f" * 16}
    (folder / "medclm.json").write_text(json.dumps(info))
    predictor = Predictor(folder, device="cpu", threads=1)
    with torch.no_grad():
        for parameter in predictor.model.parameters():
            parameter.mul_(2.0)
    return predictor


def plain(predictor, request) -> list[int]:
    """The tokens by Hugging Face ``generate`` on what the processor makes, without our cache or features."""
    pictures = [np.asarray(image.convert("RGB")) for image in (*request.earlier, request.image)]
    inputs = prompts(predictor.encoder, [pictures], [request.question], request.mode)
    with torch.inference_mode():
        ids = predictor.model.generate(**inputs, max_new_tokens=request.max_new_tokens, do_sample=False)
    return ids[0, inputs["input_ids"].shape[1] :].tolist()


def test_engine_equals_generate(tiny, picture):
    assert tiny.continuous
    requests = [
        Request(picture(1), "Is there a nodule?", max_new_tokens=9),
        Request(picture(2, (64, 30)), "Where is the effusion that was seen?", "answer", max_new_tokens=5),
        Request(picture(1), "x", "answer", max_new_tokens=7),
        Request(picture(3, (30, 64)), "Has it grown?", max_new_tokens=6, earlier=(picture(1),)),
    ]
    engine = Engine(tiny, max_rows=3, max_joining=2)
    try:
        rows = []
        for request in requests:
            prepared = tiny.preparer.prepare(request)
            rows.append((engine.submit(prepared), prepared))
        found = [ticket.answer.result(30) for ticket, _ in rows]
        for prediction, request in zip(found, requests, strict=True):
            assert prediction.completion_tokens == len(plain(tiny, request))
            row = tiny.row(tiny.preparer.prepare(request))
            row.ids = plain(tiny, request)
            assert prediction.text == FORCED[request.mode] + row.text
    finally:
        engine.close()
