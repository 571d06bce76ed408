"""`make bench-eval`: what an evaluation costs beside the bare batched ``generate`` over the same prompts.

Bare: the model is loaded, prompts are made by the same encoder, batches are in the order of the questions, every prompt
brings its picture, greedy, no scores. medclm: everything that ``medclm eval`` does for the same questions, without
controls: reading, batching, generation, scores, intervals, files and report. In one process the difference is the
overhead; the Ray row has starting Ray and loading the model in it too, which do not grow with the questions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medclm.config import EvalConfig

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--questions", type=int, default=8, help="about each image")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer; random weights never stop earlier")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true", help="also through a Ray actor")
    parser.add_argument("--out", type=Path, default=Path("bench-eval.json"))
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="medclm-bench-"))
    try:
        results = measure(work, arguments)
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")
        if arguments.ray:
            results["ray_s"] = through_ray(work, arguments)
            arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for name, value in results.items():
        print(f"{name:28} {value}")


def measure(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from medclm.eval.benchmarks import load_benchmark
    from medclm.eval.run import evaluate
    from medclm.serve.predictor import Predictor

    model, spec = make_model(work), make_benchmark(work, arguments.images, arguments.questions)
    items = load_benchmark(spec).items
    predictor = Predictor(model, device="cpu", threads=1)
    encoded = count_encoded(predictor)
    how = settings(arguments)
    bare(predictor, items[: arguments.batch], arguments.batch, 2)  # warm
    seconds: dict[str, list[float]] = {"bare": [], "medclm": []}
    pictures = {}
    for turn in range(arguments.rounds):
        encoded.clear()
        seconds["bare"].append(timed(lambda: bare(predictor, items, arguments.batch, arguments.tokens)))
        pictures["bare"] = sum(encoded)
        forget(predictor)
        encoded.clear()
        out = work / f"out-{turn}"
        run = lambda out=out: evaluate(model, [spec], out, how, predictor)  # noqa: E731
        seconds["medclm"].append(timed(run))
        pictures["medclm"] = sum(encoded)
    ratios = [ours / other for ours, other in zip(seconds["medclm"], seconds["bare"], strict=True)]
    return {
        "questions": len(items),
        "images": arguments.images,
        "tokens": arguments.tokens,
        "pictures_encoded": pictures,
        "bare_s": round(statistics.median(seconds["bare"]), 2),
        "medclm_s": round(statistics.median(seconds["medclm"]), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def through_ray(work: Path, arguments: argparse.Namespace) -> float:
    """Seconds of the same evaluation by one Ray actor, starting Ray and loading the model included."""
    from medclm.eval.run import evaluate

    how = settings(arguments, actors=1)
    found = evaluate(work / "model", [f"vqa-rad:{work / 'rad'}"], work / "out-ray", how)
    return found["seconds"]["total"]


def settings(arguments: argparse.Namespace, **more: Any) -> EvalConfig:
    from medclm.config import EvalConfig

    return EvalConfig(
        batch_size=arguments.batch, max_new_tokens=arguments.tokens, controls=False, attention=False, **more
    )


def timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def bare(predictor: Any, items: Any, batch: int, tokens: int) -> list[str]:
    """The loop that a script would have: open, encode, generate, decode."""
    import numpy as np
    import PIL.Image
    import torch

    from medclm.train.collate import prompts

    texts: list[str] = []
    for start in range(0, len(items), batch):
        some = items[start : start + batch]
        pictures = [np.asarray(PIL.Image.open(item.image).convert("RGB")) for item in some]
        inputs = prompts(predictor.encoder, pictures, [item.question for item in some], "reason")
        with torch.inference_mode():
            out = predictor.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        texts += predictor.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def count_encoded(predictor: Any) -> list[int]:
    """Grows by the pictures of every call of the vision encoder."""
    counts: list[int] = []
    tower = predictor.model.get_submodule("model.vision_model")
    tower.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(len(kwargs.get("pixel_values", args[0] if args else ()))),
        with_kwargs=True,
    )
    return counts


def forget(predictor: Any) -> None:
    """Empties what the predictor keeps of pictures, so that no round rests on the one before."""
    for name in ("features", "preparer"):
        holder = getattr(predictor, name, None)
        cache = getattr(holder, "cache", None) or getattr(holder, "_pictures", None)
        if cache is not None:
            setattr(holder, "cache" if hasattr(holder, "cache") else "_pictures", type(cache)(cache.room))


def make_model(work: Path) -> Path:
    """A SmolVLM of random weights, large enough that the model is what takes the time."""
    from medclm.train.tiny import TinySize, make_tiny

    size = TinySize(
        image_size=128, patch_size=8, scale=2, vision_width=192, vision_layers=6, text_width=256, text_layers=6,
        heads=4, vocabulary=600,
    )  # fmt: skip
    folder = Path(
        make_tiny(("Is there a nodule in the left lung? Reasoning: Answer: yes no",), work / "model", size=size)
    )
    info = {"format_version": 1, "family": "idefics3", "base": "tiny", "dtype": "float32", "fingerprint": "bench"}
    (folder / "medclm.json").write_text(json.dumps(info))
    return folder


def make_benchmark(work: Path, images: int, questions: int) -> str:
    """Noise in the layout of VQA-RAD, every image held out."""
    import numpy as np
    import PIL.Image

    from medclm.data.readers.vqa_layouts import in_vqa_rad_held_out

    folder = work / "rad"
    (folder / "images").mkdir(parents=True)
    names = [name for name in (f"n{i}.png" for i in range(20 * images)) if in_vqa_rad_held_out(name)][:images]
    rng, rows = np.random.default_rng(0), []
    for name in names:
        PIL.Image.fromarray(rng.integers(0, 255, (256, 256), dtype=np.uint8)).save(folder / "images" / name)
        for n in range(questions):
            text = f"Is there a finding number {n} in {'the left part of ' * (n % 4)}the picture?"
            rows.append({"qid": len(rows), "image_name": name, "question": text, "answer": "Yes",
                         "answer_type": "CLOSED"})  # fmt: skip
    (folder / "trainset.json").write_text(json.dumps(rows))
    return f"vqa-rad:{folder}"


if __name__ == "__main__":
    main()
