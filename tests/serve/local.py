"""A backend of the API without Ray, and adapters with random weights."""

from __future__ import annotations

import asyncio
import json
import shutil

from medclm.serve.backend import Reply
from medclm.train.collate import FORCED
from medclm.train.target import StepReader


class Local:
    """One predictor under the name ``tiny``."""

    def __init__(self, predictor) -> None:
        self.predictor = predictor
        self.calls = 0

    async def predict(self, call):
        self.calls += 1
        return Reply((await asyncio.to_thread(self.predictor.predict, [call.request]))[0])

    async def stream(self, call):
        pieces: list[str] = []
        listeners = [lambda piece: pieces.append(piece) or True]
        (prediction,) = await asyncio.to_thread(self.predictor.predict, [call.request], listeners)
        reader = StepReader(call.request.size_hw, self.predictor.family)
        for piece in [FORCED[call.request.mode], *filter(None, pieces)]:
            yield piece
            for step in reader.add(piece):
                yield step
        yield Reply(prediction)

    async def models(self):
        return {"tiny": self.predictor.info}

    async def ready(self):
        return True


def make_adapter(model_dir, out, seed: int):
    """An adapter export of the base at ``model_dir`` with random weights, the base beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_pretrained(model_dir)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=r".*text_model.*(q|v)_proj", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(out)
    shutil.copytree(model_dir, out / "base")
    for file in model_dir.glob("*"):
        if file.name not in ("config.json", "model.safetensors", "generation_config.json"):
            shutil.copy(file, out)
    info = json.loads((model_dir / "medclm.json").read_text())
    (out / "medclm.json").write_text(json.dumps({**info, "base": "base", "fingerprint": f"{seed:016d}"}))
    return out
