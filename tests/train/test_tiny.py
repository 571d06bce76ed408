import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText, AutoProcessor

from medclm.train.tiny import TinySize, make_tiny, train_tokenizer
from tests.train.conftest import TINY

TOKENIZER = train_tokenizer(["There is a nodule in the left lung."] * 3, TinySize(**TINY))


def test_it_is_an_ordinary_directory(tiny_dir):
    model, processor = AutoModelForImageTextToText.from_pretrained(tiny_dir), AutoProcessor.from_pretrained(tiny_dir)
    assert type(model).__name__ == "SmolVLMForConditionalGeneration"
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert processor.image_seq_len == 16
    assert model.config.image_token_id == processor.image_token_id
    assert model.generation_config.eos_token_id == processor.tokenizer.convert_tokens_to_ids("<end_of_utterance>")


def test_equal_inputs_give_equal_files(tmp_path):
    for name in ("a", "b"):
        make_tiny(["one text", "and two"], tmp_path / name, seed=3, size=TinySize(**TINY))
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_it_leaves_the_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    make_tiny(["text"], tmp_path, seed=3, size=TinySize(**TINY))
    assert torch.equal(before, torch.get_rng_state())


@given(st.text(max_size=40))
def test_the_tokenizer_loses_nothing(text):
    if any(token in text for token in TOKENIZER.all_special_tokens):
        return
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text


def test_pixel_numbers_are_single_tokens():
    assert TOKENIZER.tokenize("[12 30 32 7]") == ["[", "12", "Ġ30", "Ġ32", "Ġ7", "]"]
