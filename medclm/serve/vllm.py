"""The vLLM engine behind the same API: ``ray.serve.llm`` runs the model, this backend writes its requests.

Needs the extra ``medclm[vllm]``, a GPU and merged weights. The assistant's turn is begun with the forced prefix and
continued by the model, as in training; boxes and answer are read out of the text as for the other engine.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from medclm.config import ServeConfig
from medclm.data.records import Step
from medclm.errors import UsageError
from medclm.serve.backend import Call, Reply
from medclm.serve.predictor import Prediction, Preparer
from medclm.train.target import StepReader

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle


def check_vllm(config: ServeConfig) -> None:
    """Fail early where vLLM cannot run this model.

    Raises:
        UsageError: vLLM is not installed, there are adapters, or no GPU is asked for.
    """
    import importlib.util

    if importlib.util.find_spec("vllm") is None:
        raise UsageError(
            "vLLM is not installed", where="engine=vllm", remedy="pip install 'medclm[vllm]', or engine=transformers"
        )
    if config.adapters or not config.num_gpus:
        raise UsageError(
            "the vllm engine serves merged weights on a GPU",
            got=f"adapters: {len(config.adapters)}, num_gpus: {config.num_gpus}",
            remedy="medclm export --merge, set num_gpus, or take engine=transformers",
        )


def vllm_deployment(config: ServeConfig) -> Application:
    """The model's deployment, made by ``ray.serve.llm``."""
    from ray.serve.llm import LLMConfig, build_llm_deployment

    return build_llm_deployment(
        LLMConfig(
            model_loading_config={"model_id": config.name, "model_source": config.model},
            deployment_config={
                "autoscaling_config": {
                    "min_replicas": config.min_replicas,
                    "max_replicas": config.max_replicas,
                    "target_ongoing_requests": config.target_ongoing_requests,
                },
                "max_ongoing_requests": config.max_ongoing_requests,
            },
            engine_kwargs={"limit_mm_per_prompt": {"image": config.max_images}},
        )
    )


class Vllm:
    """The backend of the API over that deployment."""

    def __init__(self, model: DeploymentHandle, config: ServeConfig, models: dict[str, dict[str, Any]]) -> None:
        self.model, self.config, self._models = model, config, models
        self.preparer = Preparer.load(config.model)

    async def predict(self, call: Call) -> Reply:
        """One answer."""
        return [piece async for piece in self.stream(call) if isinstance(piece, Reply)][-1]

    async def stream(self, call: Call) -> AsyncIterator[str | Step | Reply]:
        """The text piece by piece, forced prefix first, each finished step, and last the reply."""
        from ray.serve.llm.openai_api_models import ChatCompletionRequest

        from medclm.train.collate import FORCED

        prefix = FORCED[call.request.mode]
        reader = StepReader(call.request.size_hw, self.preparer.encoder.family)
        reader.add(prefix)
        yield prefix
        tokens: list[tuple[str, float]] = []
        usage: dict[str, Any] = {}
        finish = "stop"
        stream: Any = self.model.options(stream=True)
        async for events in stream.chat.remote(ChatCompletionRequest(**request_body(call, self.config.name, prefix))):
            for event in _events(events):
                usage = event.get("usage") or usage
                for choice in event.get("choices", ()):
                    finish = choice.get("finish_reason") or finish
                    tokens += [
                        (one["token"], one["logprob"]) for one in (choice.get("logprobs") or {}).get("content") or ()
                    ]
                    if piece := choice["delta"].get("content"):
                        yield piece
                        for step in reader.add(piece):
                            yield step
        yield Reply(self._prediction(call, tokens, usage, finish), "vllm")

    async def models(self) -> dict[str, dict[str, Any]]:
        """What is served."""
        return self._models

    async def ready(self) -> bool:
        """Whether the deployment runs."""
        from ray import serve

        return all(app.status == "RUNNING" for app in serve.status().applications.values())

    def _prediction(self, call: Call, tokens: list[tuple[str, float]], usage: dict, finish: str) -> Prediction:
        from medclm.train.collate import FORCED
        from medclm.train.views import ANSWER, parse_answer

        request = call.request
        text = FORCED[request.mode] + "".join(piece for piece, _ in tokens)
        parsed = parse_answer(text, request.size_hw, self.preparer.encoder.family)
        at, spoken = text.rfind(ANSWER) + len(ANSWER) - len(FORCED[request.mode]), []
        for piece, value in tokens:
            if at <= 0 and parsed.answer:
                spoken.append(value)
            at -= len(piece)
        return Prediction(
            text=text,
            answer=parsed.answer,
            confidence=math.exp(sum(spoken) / len(spoken)) if spoken else 0.0,
            steps=parsed.steps,
            parsed=parsed.ok,
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", len(tokens)),
            finish="length" if finish == "length" else "stop",
            tokens=tuple(tokens),
        )


def request_body(call: Call, model: str, prefix: str) -> dict[str, Any]:
    """A chat request in OpenAI's shape that continues the assistant's turn after ``prefix``."""
    request = call.request
    pictures = [{"type": "image_url", "image_url": {"url": _uri(image)}} for image in (*request.earlier, request.image)]
    user = {"role": "user", "content": [*pictures, {"type": "text", "text": request.question}]}
    return {
        "model": model,
        "messages": [user, {"role": "assistant", "content": prefix}],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "max_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop),
        "logprobs": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _uri(image: Any) -> str:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _events(piece: Any) -> list[dict[str, Any]]:
    """The JSON events of a piece of the stream: text of server-sent events, or a list of them."""
    texts = piece if isinstance(piece, list) else [piece]
    lines = [line for text in texts for line in str(text).split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line[6:].strip() != "[DONE]"]
