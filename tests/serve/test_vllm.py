"""The vLLM engine: what it is asked, and what is said where it cannot run. It is not run here: it needs a GPU."""

from __future__ import annotations

import pytest

from medclm.config import ServeConfig
from medclm.errors import UsageError
from medclm.serve.app import build_app
from medclm.serve.backend import Call
from medclm.serve.predictor import Request
from medclm.serve.vllm import request_body


def test_without_vllm_the_error_says_what_to_install(model_dir):
    with pytest.raises(UsageError, match="vLLM is not installed") as caught:
        build_app(ServeConfig(model=str(model_dir), engine="vllm"))
    assert "medclm[vllm]" in str(caught.value)


def test_a_request_continues_the_forced_prefix(picture):
    request = Request(picture(1), "Is it?", "answer", 7, seed=3, stop=("x",), earlier=(picture(2),))
    body = request_body(Call(request, "m"), "m", "Answer:")
    user, assistant = body["messages"]
    assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "text"]
    assert assistant == {"role": "assistant", "content": "Answer:"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (body["max_tokens"], body["seed"], body["stop"]) == (7, 3, ["x"])
