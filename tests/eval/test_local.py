"""The parts that need a model's inside, on a tiny one with random weights, in this process and in a Ray actor."""

import json

import pyarrow.parquet as pq
import pytest
import torch

from medclm.config import EvalConfig
from medclm.eval.attention import attention_masses
from medclm.eval.run import evaluate
from medclm.eval.text_only import answer_text_only, text_prompt
from medclm.serve.predictor import Request
from tests.serve.conftest import model_dir, predictor  # noqa: F401 - fixtures

IMAGE = (16, 16)


def test_text_only_has_no_image_token_and_equals_plain_generate(predictor):  # noqa: F811
    prompt = text_prompt(predictor, "Is there <image> a nodule?", "answer")
    assert predictor.processor.image_token not in prompt
    assert prompt.endswith("Answer:")
    questions = ["Is there a nodule?", "Where is the effusion in the left lung?"]
    batched = answer_text_only(predictor, questions, "answer", 6)
    for question, found in zip(questions, batched, strict=True):
        ids = predictor.tokenizer(text_prompt(predictor, question, "answer"), return_tensors="pt",
                                  add_special_tokens=False)["input_ids"]  # fmt: skip
        with torch.inference_mode():
            out = predictor.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6,
                                           do_sample=False)  # fmt: skip
        text = predictor.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert found.text == "Answer:" + text


def test_attention_is_that_of_the_eager_model(predictor, model_dir):  # noqa: F811
    """The whole attention matrix of an eager model, cut to (generated tokens, image tokens) by hand."""
    import numpy as np
    from PIL import Image
    from transformers import AutoModelForImageTextToText

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, IMAGE, dtype=np.uint8))
    request = Request(image, "Is there a nodule?", mode="answer", max_new_tokens=5)
    text = "Answer: yes right lung"
    box = (0.0, 0.0, 8.0, 16.0)  # the left half: 8 of 16 patches, each in full
    ((mass, even),) = attention_masses(predictor, [(request, text, (box,))])
    assert even == pytest.approx(0.5)
    eager = AutoModelForImageTextToText.from_pretrained(model_dir, attn_implementation="eager")
    prompt = predictor.encoder.prompt(request.question, "answer")
    ids = predictor.tokenizer(prompt + text.removeprefix("Answer:"), return_tensors="pt", add_special_tokens=False)
    start = len(predictor.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    pixels = predictor.encoder.image_of(np.asarray(image.convert("RGB")))
    with torch.inference_mode():
        weights = eager(**ids, **pixels, output_attentions=True).attentions[1][0]  # (heads, L, L) of layer 1 of 2
    image_at = (ids["input_ids"][0] == predictor.encoder.image_token_id).nonzero()[:, 0]
    rows = weights[:, start:, image_at]
    rows = rows / rows.sum(-1, keepdim=True)
    left = torch.tensor([1.0, 1.0, 0.0, 0.0] * 4)
    assert mass == pytest.approx(float((rows * left).sum(-1).mean()), abs=1e-5)


def test_a_ray_actor_gives_the_same_answers_and_keeps_them(ray_cluster, model_dir, dataset, tmp_path):  # noqa: F811
    alone = EvalConfig(max_new_tokens=4, limit=6, controls=("text_only", "mask"), actors=0)
    here = evaluate(model_dir, [f"medclm:{dataset}"], tmp_path / "a", alone)
    there = evaluate(model_dir, [f"medclm:{dataset}"], tmp_path / "b", alone.model_copy(update={"actors": 1}))
    assert there["model"]["actors"] == 1
    one, two = (pq.read_table(tmp_path / name / "predictions.parquet").to_pylist() for name in "ab")
    assert [row["text"] for row in one] == [row["text"] for row in two]
    assert [row["attention"] for row in one] == pytest.approx([row["attention"] for row in two])
    assert here["asks"] == there["asks"]
    (manifest,) = (tmp_path / "b" / "answers").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["asks"] == there["asks"]["asked"]
    # a part that was lost is asked again, the others are not
    part = next(iter(sorted(manifest.parent.glob("*.parquet"))))
    lost = pq.read_table(part).num_rows
    part.unlink()
    again = evaluate(model_dir, [f"medclm:{dataset}"], tmp_path / "b", alone)
    assert again["asks"] == there["asks"] | {"asked": lost, "kept": there["asks"]["asked"] - lost}
    assert pq.read_table(tmp_path / "b" / "predictions.parquet").to_pylist() == two
    # fewer questions and fewer controls need nothing new
    fewer = alone.model_copy(update={"limit": 5, "controls": False})
    less = evaluate(model_dir, [f"medclm:{dataset}"], tmp_path / "b", fewer)
    assert (less["asks"]["asked"], less["asks"]["kept"]) == (0, 5)
