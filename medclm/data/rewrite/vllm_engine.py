"""vLLM through ``ray.data.llm``: prompts become a Ray dataset, its replicas answer them."""

from __future__ import annotations

import importlib.util
from typing import Any

from medclm.data.rewrite.prompt import Messages
from medclm.data.rewrite.protocol import Done
from medclm.errors import UsageError


class VllmEngine:
    """Offline batches of vLLM. It starts its own Ray actors with GPUs: call it from a driver, not from an actor."""

    def __init__(
        self,
        model: str,
        temperature: float = 0.7,
        max_new_tokens: int = 768,
        batch_size: int = 64,
        seed: int = 0,
        replicas: int = 1,
    ) -> None:
        """
        Raises:
            UsageError: vllm is not installed.
        """
        if importlib.util.find_spec("vllm") is None:
            raise UsageError(
                "the vllm engine needs a package that is not installed",
                remedy="pip install 'medclm[vllm]' on machines with GPUs, or reword.engine=openai with a vLLM server",
            )
        self.name = f"vllm:{model.rstrip('/').rsplit('/', 1)[-1]}"
        self.parameters = {"temperature": temperature, "max_tokens": max_new_tokens, "seed": seed}
        self.model, self.batch_size, self.replicas = model, batch_size, replicas

    def complete(self, prompts: list[Messages], done: Done) -> list[str | None]:
        """See :class:`medclm.data.rewrite.protocol.Engine`. None: vLLM reported an error for that prompt."""
        import ray

        if not prompts:
            return []
        rows = ray.data.from_items([{"n": n, "messages": messages} for n, messages in enumerate(prompts)])
        processor = make_processor(self.model, self.parameters, self.batch_size, self.replicas)
        answers: list[str | None] = [None] * len(prompts)
        for row in processor(rows).iter_rows():
            if not row.get("__inference_error__"):
                answers[row["n"]] = row["answer"]
                done(row["n"], row["answer"])
        return answers


def make_processor(model: str, sampling: dict[str, Any], batch_size: int, replicas: int) -> Any:
    """The Ray Data processor of a model: rows (n, messages) to rows (n, answer).

    ``sampling`` are vLLM's SamplingParams. A row that fails carries ``__inference_error__`` and stops nothing.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    config = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs={"enable_prefix_caching": True, "seed": sampling["seed"]},
        batch_size=batch_size,
        concurrency=replicas,
        should_continue_on_error=True,
    )
    return build_processor(
        config,
        preprocess=lambda row: {"n": row["n"], "messages": row["messages"], "sampling_params": dict(sampling)},
        postprocess=lambda row: {"n": row["n"], "answer": row["generated_text"]},
    )
