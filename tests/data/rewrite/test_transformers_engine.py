"""A real causal LM with random weights: batching, and that nothing it says is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.stage import Reword
from medclm.data.rewrite.transformers_engine import TransformersEngine
from medclm.errors import UsageError

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """A Llama of two layers, 32 wide, random, with a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(["There is a nodule in the left lung."], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", chat_template=TEMPLATE)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_batch_gives_what_each_prompt_gives_alone(model_dir):
    prompts = [chat("a"), chat("There is a nodule in the left lung."), chat("bcd")]
    engine = TransformersEngine(str(model_dir), 0.0, 12, batch_size=3)
    told: dict[int, str] = {}
    together = engine.complete(prompts, told.__setitem__)
    alone = [engine.complete([prompt], lambda n, answer: None)[0] for prompt in prompts]
    assert together == alone
    assert told == dict(enumerate(together))
    assert all(together)
    assert engine.prompt_text(prompts[0]) == "<user>a\n<assistant>"
    assert engine.name == f"transformers:{model_dir.name}"


def test_sampling_is_seeded(model_dir):
    def answers(seed):
        engine = TransformersEngine(str(model_dir), 1.0, 12, batch_size=2, seed=seed)
        return engine.complete([chat("a"), chat("b")], lambda n, answer: None)

    assert answers(1) == answers(1) != answers(2)


def test_a_prompt_too_long_is_no_answer(model_dir):
    engine = TransformersEngine(str(model_dir), 0.0, 4)
    found = engine.complete([chat("x " * 5000), chat("y")], lambda n, answer: None)
    assert found[0] is None
    assert found[1]


def test_a_model_that_talks_nonsense_changes_nothing(model_dir, batch):
    config = RewordConfig(engine="transformers", model=str(model_dir), temperature=0, max_new_tokens=16)
    stage = Reword(config)
    given = batch()
    assert stage(given)["record"].equals(given["record"])
    assert set(stage.stats.texts) == {"malformed"}
    assert stage.stats.acceptance == 0
    alone = Reword(config.model_copy(update={"together": False}))
    assert alone(given)["record"].equals(given["record"])
    assert alone.stats.texts.total() == stage.stats.texts.total() > 20
    assert alone.stats.texts["accepted"] == 0


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be loaded"):
        TransformersEngine(str(tmp_path))
