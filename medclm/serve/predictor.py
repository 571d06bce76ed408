"""The predictor: an exported model that answers questions about pictures, many at once. Plain class, no Ray.

Three steps: :meth:`Preparer.prepare` makes arrays and token ids, :meth:`Predictor.start` runs the model over prompts,
:meth:`Predictor.finish` reads the text. The assistant's turn starts with a forced prefix, ``Reasoning:`` or
``Answer:``. A picture is encoded once as long as its features stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm.serve.decoding import Listener, Row
from medclm.serve.prepare import Preparer, check_model_dir, config_dir
from medclm.serve.requests import Mode, Picture, Prediction, Prepared, Request

if TYPE_CHECKING:
    import torch

    from medclm.serve.rowcache import RowCache
    from medclm.train.model import Loaded

__all__ = ["Mode", "Picture", "Prediction", "Predictor", "Prepared", "Preparer", "Request", "check_model_dir"]
FEATURE_ROOM = 1 << 29
"""Bytes kept of image features."""


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


def _load(place: Path, device: str, merge: bool) -> Loaded:
    import json
    from dataclasses import replace

    import torch

    from medclm.train.model import load_base, load_exported

    if merge or not (place / "adapter_config.json").is_file():
        return load_exported(place, device)
    info = json.loads((place / "medclm.json").read_text())
    loaded = load_base(config_dir(place), info["dtype"])
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return replace(loaded, model=loaded.model.to(device).eval(), info=info)
