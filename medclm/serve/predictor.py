"""The predictor: an exported model that answers questions about pictures, many at once. Plain class, no Ray.

Three steps: :meth:`Preparer.prepare` makes arrays and token ids (CPU, any thread or machine), :meth:`Predictor.start`
runs the model over prompts, :meth:`Predictor.finish` reads the text. The assistant's turn starts with a forced prefix,
``Reasoning:`` or ``Answer:``. A picture is encoded once as long as its features stay in the cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medclm.data.records import Step
from medclm.errors import UsageError
from medclm.serve.decoding import Finish, Listener, Row, Settings

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    import torch

    from medclm.serve.rowcache import RowCache
    from medclm.train.families import Family
    from medclm.train.model import Loaded

Mode = Literal["reason", "answer"]
PREPARED_ROOM = 1 << 28
FEATURE_ROOM = 1 << 29
"""Bytes kept of processed pictures and of image features."""


@dataclass(frozen=True)
class Request:
    """One question about one picture.

    Attributes:
        image: the picture as displayed, 8 bits, grey or RGB.
        question: the user's turn. Control tokens in it are taken out.
        mode: ``reason`` writes the reasoning before the answer, ``answer`` the answer only.
        max_new_tokens, temperature, seed, stop, top_p: see :class:`medclm.serve.decoding.Settings`.
        earlier: pictures that come before ``image`` in the turn. Boxes are in pixels of ``image``.
    """

    image: PIL.Image.Image
    question: str
    mode: Mode = "reason"
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_p: float = 1.0
    earlier: tuple[PIL.Image.Image, ...] = ()

    @property
    def settings(self) -> Settings:
        """How the text is generated."""
        return Settings(self.max_new_tokens, self.temperature, self.top_p, self.seed, self.stop)


@dataclass(frozen=True)
class Picture:
    """A picture as the model takes it: the processor's arrays, what stands for it in the prompt, a content hash, and
    the size (height, width) it had."""

    arrays: dict[str, np.ndarray]
    text: str
    key: bytes
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Prepared:
    """A request ready for the model: pictures in reading order, the last of which boxes refer to, and the prompt."""

    pictures: tuple[Picture, ...]
    ids: tuple[int, ...]
    mode: Mode
    settings: Settings


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
        tokens: the generated tokens' texts and the logarithms of their probabilities, without the end token.
    """

    text: str
    answer: str
    confidence: float
    steps: tuple[Step, ...]
    parsed: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: Finish = "stop"
    tokens: tuple[tuple[str, float], ...] = ()


class Preparer:
    """The model's processor alone: pictures to arrays, questions to token ids. Safe to call from several threads."""

    def __init__(self, processor: Any, family: Family, grid_hw: tuple[int, int] | None) -> None:
        from medclm.serve.lru import ByteCache
        from medclm.train.collate import Encoder

        self.encoder = Encoder(processor, family, grid_hw)
        self._pictures: ByteCache[bytes, Picture] = ByteCache(PREPARED_ROOM)
        added = processor.tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(processor.tokenizer.all_special_tokens)
        self._controls = sorted(special | {processor.tokenizer.decode([self.encoder.image_token_id])}, key=len)

    @classmethod
    def load(cls, model_dir: str | Path) -> Preparer:
        """The processor of an exported model, without its weights.

        Raises:
            UsageError: the directory is no exported model.
        """
        check_model_dir(model_dir)
        from transformers import AutoConfig, AutoProcessor

        from medclm.train.families import bind, family_of

        place = Path(model_dir)
        config = AutoConfig.from_pretrained(_config_dir(place))
        processor = AutoProcessor.from_pretrained(place)
        family = bind(family_of(config.model_type), processor)
        return cls(processor, family, family.image_grid(config))

    def prepare(self, request: Request) -> Prepared:
        """Everything about a request that does not need the model."""
        pictures = tuple(self._picture(image) for image in (*request.earlier, request.image))
        seen: Any = pictures  # the prompt takes their texts alone
        text = self.encoder.prompt(self._plain(request.question), request.mode, seen)
        ids = self.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prepared(pictures, tuple(ids), request.mode, request.settings)

    def _plain(self, question: str) -> str:
        """The question without the texts of any added token, until none is left: those of taken-out ones may join."""
        while (found := next((token for token in self._controls if token in question), None)) is not None:
            question = question.replace(found, " ")
        return question

    def _picture(self, image: PIL.Image.Image) -> Picture:
        import numpy as np

        head = f"{image.mode} {image.size}".encode()
        key = hashlib.blake2b(head + image.tobytes(), digest_size=16).digest()
        if (found := self._pictures.get(key)) is not None:
            return found
        seen = self.encoder.look(np.asarray(image.convert("RGB")))
        arrays = {name: value.numpy() for name, value in seen.tensors.items()}
        picture = Picture(arrays, seen.text, key, (image.height, image.width))
        self._pictures.put(key, picture, sum(array.nbytes for array in arrays.values()))
        return picture


class Predictor:
    """An exported model, ready to answer.

    Args:
        model_dir: what ``medclm export`` wrote.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` …
        threads: CPU threads of the whole process, or None to leave them as they are.
        merge: fold an adapter into its base; otherwise only the base is loaded.

    Attributes:
        turn: a context in which the model may run; it switches adapters where there are several.

    Raises:
        UsageError: the directory is no exported model.
    """

    def __init__(
        self, model_dir: str | Path, device: str = "auto", threads: int | None = None, merge: bool = True
    ) -> None:
        check_model_dir(model_dir)
        import torch
        import transformers

        from medclm import __version__
        from medclm.serve.features import Features
        from medclm.serve.rowcache import can_hold

        if threads:
            torch.set_num_threads(threads)
        loaded = _load(Path(model_dir), device, merge)
        self.model, self.processor, self.family = loaded.model.eval(), loaded.processor, loaded.family
        self.tokenizer = self.processor.tokenizer
        self.preparer = Preparer(self.processor, self.family, loaded.grid_hw)
        self.encoder = self.preparer.encoder
        self.features = Features(self.model, FEATURE_ROOM)
        self.continuous = can_hold(self.model)
        versions = {"medclm": __version__, "torch": str(torch.__version__), "transformers": transformers.__version__}
        self.info: dict[str, Any] = {**loaded.info, "versions": versions}
        self.turn: Callable[[], AbstractContextManager[None]] = nullcontext

    def like(self, info: dict[str, Any], turn: Callable[[], AbstractContextManager[None]]) -> Predictor:
        """Another predictor on the same weights, with features of its own, that runs within ``turn``."""
        from medclm.serve.features import Features

        other = copy(self)
        other.info, other.turn, other.features = info, turn, Features(self.model, FEATURE_ROOM)
        return other

    def predict(
        self, requests: Sequence[Request], listeners: Sequence[Listener | None] | None = None
    ) -> list[Prediction]:
        """Answers of one batch, in order.

        Args:
            requests: any mix of pictures, questions, modes and limits.
            listeners: for each request, who gets its text while it grows; None for nobody.
        """
        from medclm.serve.batch import Running, generate

        prepared = [self.preparer.prepare(request) for request in requests]
        rows = [self.row(one, to) for one, to in zip(prepared, listeners or [None] * len(prepared), strict=True)]
        with self.turn():
            if self.continuous and rows:
                running = Running(self)
                running.admit(prepared, rows)
                while running.rows:
                    running.step()
            elif rows:
                generate(self, prepared, rows)
        return [self.finish(one, row) for one, row in zip(prepared, rows, strict=True)]

    def row(self, prepared: Prepared, listener: Listener | None = None) -> Row:
        """An empty text for a request."""
        return Row(self.tokenizer, self.eos, prepared.settings, listener)

    def inputs(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        """Left-padded token ids and mask (B, L), and the pictures' features, as the model's forward takes them."""
        import torch

        from medclm.train.collate import _pad

        ids, mask = _pad([list(one.ids) for one in batch], self.tokenizer.pad_token_id, left=True)
        more = self.family.more_inputs(ids == self.encoder.image_token_id, torch.ones_like(mask, dtype=torch.bool))
        texts = {"input_ids": ids, "attention_mask": mask, **more}
        inputs = {name: tensor.to(self.model.device) for name, tensor in texts.items()}
        return {**inputs, **self.features.inputs([picture for one in batch for picture in one.pictures])}

    def start(self, batch: Sequence[Prepared]) -> tuple[torch.Tensor, RowCache, torch.Tensor, torch.Tensor]:
        """Run the model over prompts.

        Returns:
            The next token's logits (B, V); the cache; the columns of padding (B,); the position of the next token (B,).
        """
        import torch

        from medclm.serve.rowcache import RowCache

        inputs, cache = self.inputs(batch), RowCache()
        with torch.inference_mode():
            positions = self.model._prepare_position_ids_for_generation(inputs["input_ids"], dict(inputs))
            arguments = self.model.prepare_inputs_for_generation(
                **inputs, position_ids=positions, past_key_values=cache, use_cache=True, is_first_iteration=True
            )
            logits = self.model(**arguments, logits_to_keep=1).logits[:, -1]
        lengths = inputs["attention_mask"].sum(dim=1)
        positions = arguments["position_ids"]
        last = positions.reshape(-1, *positions.shape[-2:])[-1, :, -1]  # several rotary axes agree on text
        return logits, cache, inputs["input_ids"].shape[1] - lengths, last + 1

    @property
    def eos(self) -> tuple[int, ...]:
        """The tokens that end a text."""
        eos = self.model.generation_config.eos_token_id
        eos = self.tokenizer.eos_token_id if eos is None else eos
        return tuple(eos) if isinstance(eos, (list, tuple)) else (int(eos),)

    def finish(self, prepared: Prepared, row: Row) -> Prediction:
        """What a finished text says."""
        from medclm.train.collate import FORCED
        from medclm.train.views import ANSWER, parse_answer

        text = FORCED[prepared.mode] + row.text
        parsed = parse_answer(text, prepared.pictures[-1].size_hw, self.family)
        start = row.after(ANSWER) if prepared.mode == "reason" else 0
        spoken = row.log_probs[start : row.spoken] if parsed.answer else []
        return Prediction(
            text=text,
            answer=parsed.answer,
            confidence=math.exp(sum(spoken) / len(spoken)) if spoken else 0.0,
            steps=parsed.steps,
            parsed=parsed.ok,
            prompt_tokens=len(prepared.ids),
            completion_tokens=len(row.ids),
            finish=row.finish or "length",
            tokens=tuple((row.decode([t]), p) for t, p in zip(row.ids[: row.spoken], row.log_probs, strict=False)),
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


def _load(place: Path, device: str, merge: bool) -> Loaded:
    import json
    from dataclasses import replace

    import torch

    from medclm.train.model import load_base, load_exported

    if merge or not (place / "adapter_config.json").is_file():
        return load_exported(place, device)
    info = json.loads((place / "medclm.json").read_text())
    loaded = load_base(_config_dir(place), info["dtype"])
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return replace(loaded, model=loaded.model.to(device).eval(), info=info)


def _config_dir(place: Path) -> str:
    """Where the model's ``config.json`` lies: the export itself, or the base of an adapter."""
    import json

    if (place / "config.json").is_file():
        return str(place)
    base = json.loads((place / "medclm.json").read_text())["base"]
    return str(place / base) if (place / base).is_dir() else str(base)
