"""A local causal language model of transformers, batched."""

from __future__ import annotations

from typing import Any

from medclm.data.rewrite.prompt import Messages
from medclm.data.rewrite.protocol import Done
from medclm.errors import UsageError


class TransformersEngine:
    """``AutoModelForCausalLM`` on the first GPU where there is one. Prompts are padded on the left.

    Greedy at temperature 0. Sampling is seeded for every batch, so that the same prompts in the same order give the
    same answers.
    """

    def __init__(
        self,
        model: str,
        temperature: float = 0.0,
        max_new_tokens: int = 768,
        batch_size: int = 16,
        seed: int = 0,
        gguf_file: str = "",
    ) -> None:
        """``model`` is a directory or a hub name, with its tokenizer; ``gguf_file`` a file in it.

        Raises:
            UsageError: the model cannot be loaded.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        more: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left", **more)
            self.model = AutoModelForCausalLM.from_pretrained(model, dtype="auto", **more).eval()
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(
                "the rewording model cannot be loaded",
                where=model,
                expected="a directory or hub name with a causal language model and its tokenizer",
                got=str(error).splitlines()[0],
                remedy="see reword.model; GGUF files need reword.gguf_file and the package gguf",
            ) from error
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(self.device)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.name = f"transformers:{model.rstrip('/').rsplit('/', 1)[-1]}"
        self.parameters: dict[str, Any] = {
            "temperature": temperature,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
            "gguf": gguf_file,
        }
        self.batch_size = batch_size

    def complete(self, prompts: list[Messages], done: Done) -> list[str | None]:
        """See :class:`medclm.data.rewrite.protocol.Engine`. A prompt that leaves no room to answer gives None."""
        answers: list[str | None] = [None] * len(prompts)
        texts = [self.prompt_text(messages) for messages in prompts]
        lengths = [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
        room = getattr(self.model.config, "max_position_embeddings", None) or 2**31
        fitting = [n for n in range(len(prompts)) if lengths[n] < room]
        fitting.sort(key=lambda n: lengths[n])  # little padding
        for at in range(0, len(fitting), self.batch_size):
            chosen = fitting[at : at + self.batch_size]
            limit = min(int(self.parameters["max_new_tokens"]), room - max(lengths[n] for n in chosen))
            for n, answer in zip(chosen, self._generate([texts[n] for n in chosen], limit), strict=True):
                answers[n] = answer
                done(n, answer)
        return answers

    def prompt_text(self, messages: Messages) -> str:
        """The chat as the model's template writes it; plain paragraphs for a model without one."""
        if self.tokenizer.chat_template:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return "\n\n".join(message["content"] for message in messages) + "\n\n"

    def _generate(self, texts: list[str], limit: int) -> list[str]:
        import torch

        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        inputs.pop("token_type_ids", None)
        temperature = float(self.parameters["temperature"])
        how: dict[str, Any] = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        devices = [self.device] if self.device != "cpu" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(self.parameters["seed"]))
            out = self.model.generate(**inputs, max_new_tokens=limit, pad_token_id=self.tokenizer.pad_token_id, **how)
        return self.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
