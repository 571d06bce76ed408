"""vLLM runs on GPUs only; here: the clear error, and that Ray's processor takes our settings."""

from __future__ import annotations

import importlib.util

import pytest

from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.engine import make_engine
from medclm.data.rewrite.vllm_engine import make_processor
from medclm.errors import UsageError


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_missing_package_is_named():
    with pytest.raises(UsageError, match="not installed") as caught:
        make_engine(RewordConfig(engine="vllm", model="m"))
    assert "medclm[vllm]" in caught.value.details["remedy"]


def test_ray_takes_the_settings(ray_cluster, tmp_path):
    from transformers import LlamaConfig

    LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path)
    sampling = {"temperature": 0.7, "max_tokens": 16, "seed": 3}
    processor = make_processor(str(tmp_path), sampling, batch_size=4, replicas=1)
    assert "vLLMEngineStage" in processor.list_stage_names()
    row = processor.preprocess({"n": 5, "messages": [{"role": "user", "content": "x"}]})["__data"]
    assert row["sampling_params"] == sampling
    assert (row["n"], row["messages"]) == (5, [{"role": "user", "content": "x"}])
