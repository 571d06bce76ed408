"""Rows that decode together. New ones join between two steps, those that ended leave: continuous batching.

:func:`generate` is the other way, for models whose cache cannot lose or gain rows: a fixed batch until its last row
ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from medclm.serve.decoding import Row, choose

if TYPE_CHECKING:
    from medclm.serve.predictor import Predictor
    from medclm.serve.requests import Prepared
    from medclm.serve.rowcache import RowCache


class Running:
    """The B rows that decode now, and their cache.

    Attributes:
        rows: those that have not ended.
        steps: forward passes of one token a row so far.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.steps = 0
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.rows: list[Row] = []
        self.cache: RowCache | None = None
        self.tokens = self.pads = self.positions = torch.empty(0, dtype=torch.int64)

    def admit(self, batch: Sequence[Prepared], rows: Sequence[Row]) -> None:
        """Run the prompts, take each row's first token, and let the rows join. A row may have ended already."""
        with torch.inference_mode():
            logits, cache, pads, positions = self.predictor.start(batch)
            tokens = choose(logits, rows)
            if self.cache is None:
                self.rows, self.cache, self.tokens, self.pads, self.positions = (
                    list(rows),
                    cache,
                    tokens,
                    pads,
                    positions,
                )
            else:
                self._join(list(rows), cache, tokens, pads, positions)
            self.leave()

    def step(self) -> None:
        """One more token for every row."""
        with torch.inference_mode():
            width = self.width + 1
            mask = torch.arange(width, device=self.pads.device) >= self.pads[:, None]
            logits = self.predictor.model(
                input_ids=self.tokens[:, None],
                attention_mask=mask.long(),
                position_ids=self.positions[:, None],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            self.steps += 1
            self.tokens = choose(logits, self.rows)
            self.positions = self.positions + 1
            self.leave()

    @property
    def width(self) -> int:
        """Columns of the cache."""
        return 0 if self.cache is None else self.cache.get_seq_length()

    def _join(self, rows: list[Row], cache: RowCache, *state: torch.Tensor) -> None:
        assert self.cache is not None
        tokens, pads, positions = state
        width, wide = self.width, cache.get_seq_length()
        self.cache.join(cache)
        longest = max(width, wide)
        self.rows = self.rows + rows
        self.tokens = torch.cat([self.tokens, tokens])
        self.pads = torch.cat([self.pads + (longest - width), pads + (longest - wide)])
        self.positions = torch.cat([self.positions, positions])

    def leave(self) -> None:
        """Take out the rows that ended, and the columns that no row uses any more."""
        stay = [index for index, row in enumerate(self.rows) if row.finish is None]
        if len(stay) == len(self.rows):
            return
        if not stay:
            self.clear()
            return
        assert self.cache is not None
        index = torch.as_tensor(stay, device=self.pads.device)
        first = int(self.pads[index].min())
        self.cache.keep(stay, first)
        self.rows = [self.rows[n] for n in stay]
        self.tokens, self.positions, self.pads = self.tokens[index], self.positions[index], self.pads[index] - first


def generate(predictor: Predictor, batch: Sequence[Prepared], rows: Sequence[Row]) -> None:
    """Fill ``rows`` by Hugging Face ``generate`` over a fixed batch."""
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    def take(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        taken = choose(scores, rows)
        return torch.full_like(scores, -torch.inf).scatter_(1, taken[:, None], 0.0)

    def ended(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor([row.finish is not None for row in rows], device=input_ids.device)

    config = GenerationConfig(
        max_new_tokens=max(row.settings.max_new_tokens for row in rows),
        do_sample=False,
        repetition_penalty=1.0,
        eos_token_id=list(predictor.eos),
        pad_token_id=predictor.tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        predictor.model.generate(
            **predictor.inputs(batch),
            generation_config=config,
            logits_processor=LogitsProcessorList([take]),
            stopping_criteria=StoppingCriteriaList([ended]),
        )
