"""The rewording engines there are, and the cache around any of them."""

from __future__ import annotations

import hashlib
import json

from medclm import storage
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.prompt import Messages
from medclm.data.rewrite.protocol import Done, Engine
from medclm.errors import UsageError


class Cached:
    """An engine that remembers: an answer once given is never asked for again, also by another process."""

    def __init__(self, engine: Engine, folder: str) -> None:
        self.engine, self.folder = engine, folder
        self.name, self.parameters = engine.name, engine.parameters

    def key(self, messages: Messages) -> str:
        """SHA-256 of engine, model, parameters and prompt, hex."""
        asked = storage.canonical({"name": self.name, "parameters": self.parameters, "messages": messages})
        return hashlib.sha256(asked.encode()).hexdigest()

    def path(self, key: str) -> str:
        """Where an answer lies; files are spread over 256 folders."""
        return storage.join(self.folder, key[:2], f"{key}.json")

    def known(self, prompts: list[Messages]) -> list[str | None]:
        """The answers that are there already."""
        return [self._read(self.path(self.key(messages))) for messages in prompts]

    def _read(self, path: str) -> str | None:
        return str(storage.read_json(path)["answer"]) if storage.exists(path) else None

    def forget(self, messages: Messages) -> None:
        """Lets an answer that was of no use be asked for again by the next build."""
        fs, path = storage.open_fs(self.path(self.key(messages)))
        if fs.exists(path):
            fs.rm_file(path)

    def complete(self, prompts: list[Messages], done: Done) -> list[str | None]:
        """See :class:`medclm.data.rewrite.protocol.Engine`. Equal prompts of one call are asked once."""
        keys = [self.key(messages) for messages in prompts]
        found = {key: self._read(self.path(key)) for key in dict.fromkeys(keys)}
        first = {key: n for n, key in reversed(list(enumerate(keys)))}
        missing = [key for key in found if found[key] is None]

        def keep(n: int, answer: str) -> None:
            document = json.dumps({"answer": answer, "by": self.name}, ensure_ascii=False)
            storage.write_atomic(self.path(missing[n]), document.encode())

        answers = self.engine.complete([prompts[first[key]] for key in missing], keep) if missing else []
        found |= dict(zip(missing, answers, strict=True))
        for n, key in enumerate(keys):
            if (answer := found[key]) is not None:
                done(n, answer)
        return [found[key] for key in keys]


def make_engine(config: RewordConfig) -> Engine:
    """The engine that a configuration asks for, behind the cache where one is set.

    Raises:
        UsageError: the engine or its model is not named, or the package it needs is not installed.
    """
    if config.engine == "none" or not config.model:
        raise UsageError("rewording needs an engine and a model", got=config.engine, remedy="set reword.model")
    engine: Engine
    if config.engine == "transformers":
        from medclm.data.rewrite.transformers_engine import TransformersEngine

        engine = TransformersEngine(
            config.model, config.temperature, config.max_new_tokens, config.batch_size, config.seed, config.gguf_file
        )
    elif config.engine == "openai":
        from medclm.data.rewrite.openai_engine import Endpoint, OpenAIEngine

        endpoint = Endpoint(
            config.base_url, config.api_key_variable, config.concurrency, config.retries, config.timeout_s
        )
        engine = OpenAIEngine(config.model, endpoint, config.temperature, config.max_new_tokens, config.seed)
    else:
        from medclm.data.rewrite.vllm_engine import VllmEngine

        engine = VllmEngine(config.model, config.temperature, config.max_new_tokens, config.batch_size, config.seed)
    return Cached(engine, config.cache) if config.cache else engine
