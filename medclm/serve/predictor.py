"""The predictor: an exported model that answers questions about pictures, many at once. Plain class, no Ray.

The assistant's turn starts with a forced prefix, ``Reasoning:`` or ``Answer:``; the rest is generated token by token
with a KV cache over a left-padded batch. A picture that several requests of one batch share is encoded once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medclm.data.records import Step
from medclm.errors import UsageError

if TYPE_CHECKING:
    import PIL.Image

    from medclm.serve.decoding import Decoding

Mode = Literal["reason", "answer"]
Listener = Callable[[str], bool]
"""Gets each new piece of a request's text; returns False when nobody listens any more, which ends the request."""


@dataclass(frozen=True)
class Request:
    """One question about one picture.

    Attributes:
        image: the picture as displayed, 8 bits, grey or RGB.
        question: the user's turn. Control tokens in it are taken out.
        mode: ``reason`` writes the reasoning before the answer, ``answer`` the answer only.
        max_new_tokens: of the generated text; the forced prefix does not count.
        temperature: 0 takes the most probable token each time, higher values draw.
        seed: of the draw; None draws anew each time.
        stop: texts that end the generation; they are not part of the text.
    """

    image: PIL.Image.Image
    question: str
    mode: Mode = "reason"
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """What the model said.

    Attributes:
        text: the whole assistant's turn, forced prefix included.
        answer: the text after the last ``Answer:``; empty where there is none.
        confidence: geometric mean of the probabilities of the answer's tokens, 0 to 1; 0 without an answer.
        steps: the reasoning, boxes in pixels of ``Request.image``.
        parsed: whether the text kept to the form that was trained.
        prompt_tokens, completion_tokens: lengths, image tokens included, padding not.
        finish: ``stop`` (the model or a stop text ended it) or ``length``.
    """

    text: str
    answer: str
    confidence: float
    steps: tuple[Step, ...]
    parsed: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: Literal["stop", "length"] = "stop"


class Predictor:
    """An exported model, ready to answer.

    Args:
        model_dir: what ``medclm export`` wrote.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` …
        threads: CPU threads of the whole process, or None to leave them as they are.

    Raises:
        UsageError: the directory is no exported model.
    """

    def __init__(self, model_dir: str | Path, device: str = "auto", threads: int | None = None) -> None:
        check_model_dir(model_dir)
        import torch
        import transformers

        from medclm import __version__
        from medclm.train.collate import Encoder
        from medclm.train.model import load_exported

        if threads:
            torch.set_num_threads(threads)
        loaded = load_exported(model_dir, device)
        self.model, self.processor, self.family = loaded.model.eval(), loaded.processor, loaded.family
        self.tokenizer = self.processor.tokenizer
        self.encoder = Encoder(self.processor, self.family, loaded.grid_hw)
        versions = {"medclm": __version__, "torch": str(torch.__version__), "transformers": transformers.__version__}
        self.info: dict[str, Any] = {**loaded.info, "versions": versions}

    def predict(
        self, requests: Sequence[Request], listeners: Sequence[Listener | None] | None = None
    ) -> list[Prediction]:
        """Answers of one batch, in order.

        Args:
            requests: any mix of pictures, questions, modes and limits.
            listeners: for each request, who gets its text while it grows; None for nobody.
        """
        from medclm.serve.decoding import Decoding

        if not requests:
            return []
        inputs = self._inputs(requests)
        rows = Decoding(self.tokenizer, self._eos(), requests, listeners or [None] * len(requests))
        self._generate(inputs, rows, max(request.max_new_tokens for request in requests))
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._prediction(request, rows, row, lengths[row]) for row, request in enumerate(requests)]

    def _inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Left-padded token ids and mask (B, L), and the pictures' features, already computed."""
        import numpy as np
        import torch

        first, index = _distinct([request.image for request in requests])
        pictures = [self.encoder.image_of(np.asarray(requests[row].image.convert("RGB"))) for row in first]
        pixels = {name: torch.cat([picture[name] for picture in pictures]) for name in pictures[0]}
        texts = [self.encoder.prompt(request.question, request.mode) for request in requests]
        tokens = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False, padding_side="left")
        inputs = {name: tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        return {**inputs, "mm_encoder_outputs": {"image": self._features(pixels, index)}}

    def _features(self, pixels: dict[str, Any], index: list[int]) -> Any:
        """The vision encoder's output on the distinct pictures, laid out for the batch: row i shows index[i]."""
        import torch

        with torch.inference_mode():
            inputs = {name: value.to(self.model.device) for name, value in pixels.items()}
            output = self.model.get_image_features(**inputs, return_dict=True)
        output.pooler_output = [output.pooler_output[i] for i in index]
        return output

    def _generate(self, inputs: dict[str, Any], rows: Decoding, limit: int) -> None:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        config = GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            repetition_penalty=1.0,
            eos_token_id=list(self._eos()),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            self.model.generate(
                **inputs,
                generation_config=config,
                logits_processor=LogitsProcessorList([rows.choose]),
                stopping_criteria=StoppingCriteriaList([rows.finished]),
            )

    def _eos(self) -> tuple[int, ...]:
        eos = self.model.generation_config.eos_token_id
        eos = self.tokenizer.eos_token_id if eos is None else eos
        return tuple(eos) if isinstance(eos, (list, tuple)) else (int(eos),)

    def _prediction(self, request: Request, rows: Decoding, row: int, prompt_tokens: int) -> Prediction:
        from medclm.train.collate import FORCED
        from medclm.train.views import ANSWER, parse_answer

        text = FORCED[request.mode] + rows.text(row)
        parsed = parse_answer(text, (request.image.height, request.image.width), self.family)
        start = rows.after(row, ANSWER) if request.mode == "reason" else 0
        spoken = rows.log_probs[row][start : rows.spoken(row)] if parsed.answer else []
        return Prediction(
            text=text,
            answer=parsed.answer,
            confidence=math.exp(sum(spoken) / len(spoken)) if spoken else 0.0,
            steps=parsed.steps,
            parsed=parsed.ok,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(rows.ids[row]),
            finish=rows.finish[row] or "length",
        )


def check_model_dir(model_dir: str | Path) -> None:
    """Fail early, before anything heavy is imported, when ``model_dir`` is no exported model.

    Raises:
        UsageError: there is no such directory, or it lacks ``medclm.json``.
    """
    folder = Path(model_dir)
    if (folder / "medclm.json").is_file():
        return
    what = "the model directory is not an exported model" if folder.is_dir() else "the model directory does not exist"
    raise UsageError(
        what,
        where=folder,
        expected="a directory with medclm.json, written by medclm train or medclm export",
        remedy="give the model folder of a finished medclm train, or run medclm export --run RUN --to DIR",
    )


def _distinct(images: Sequence[PIL.Image.Image]) -> tuple[list[int], list[int]]:
    """(positions of the first of each distinct picture, for each picture which of those it equals)."""
    seen: dict[tuple, int] = {}
    first: list[int] = []
    index: list[int] = []
    for position, image in enumerate(images):
        key = (image.mode, image.size, hashlib.blake2b(image.tobytes()).digest())
        if key not in seen:
            seen[key] = len(first)
            first.append(position)
        index.append(seen[key])
    return first, index
