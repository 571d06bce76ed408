"""A key-value cache of rows that start and end at different times, aligned on the right.

Column ``width - 1`` is the newest token of every row; a shorter row has empty columns on its left, which the attention
mask hides. A step therefore writes one column for all rows at once, into room that grows by doubling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

SPARE = 64
"""Columns of room made at first."""


class RowLayer(DynamicLayer):
    """Keys and values (B, heads, L, D) of one layer, views of a larger room. A sliding window is left to the mask."""

    keys: torch.Tensor
    values: torch.Tensor
    room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (B, heads, n, D) and give back everything up to now."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        room = self.room
        if room is None or new > room[0].shape[-2]:
            keys, values = (self._grown(states, old, 2 * new + SPARE) for states in (key_states, value_states))
            room = self.room = (keys, values)
            if old:
                keys[:, :, :old], values[:, :, :old] = self.keys, self.values
        room[0][:, :, old:new] = key_states
        room[1][:, :, old:new] = value_states
        self.keys, self.values = room[0][:, :, :new], room[1][:, :, :new]
        return self.keys, self.values

    @staticmethod
    def _grown(states: torch.Tensor, old: int, columns: int) -> torch.Tensor:
        rows, heads, _, size = states.shape
        return states.new_zeros((rows, heads, max(columns, old), size))

    def keep(self, rows: torch.Tensor, first: int) -> None:
        """Only these rows, without the first columns."""
        self._set(self.keys[rows, :, first:], self.values[rows, :, first:])

    def join(self, other: RowLayer) -> None:
        """Append the other's rows; the shorter of both is moved to the right."""
        width = max(self.get_seq_length(), other.get_seq_length())
        self._set(*(_stack(mine, its, width) for mine, its in ((self.keys, other.keys), (self.values, other.values))))

    def _set(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys, self.values, self.room = keys, values, None


def _stack(above: torch.Tensor, below: torch.Tensor, width: int) -> torch.Tensor:
    rows = above.shape[0] + below.shape[0]
    out = above.new_zeros((rows, above.shape[1], width, above.shape[3]))
    out[: above.shape[0], :, width - above.shape[2] :] = above
    out[above.shape[0] :, :, width - below.shape[2] :] = below
    return out


class RowCache(Cache):
    """The cache of all layers."""

    layers: list[RowLayer]  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RowLayer)

    def keep(self, rows: Sequence[int], first: int) -> None:
        """Only these rows, in this order, without the first ``first`` columns."""
        for layer in self.layers:
            layer.keep(torch.as_tensor(rows, device=layer.keys.device), first)

    def join(self, other: RowCache) -> None:
        """Append the rows of ``other``."""
        for mine, its in zip(self.layers, other.layers, strict=True):
            mine.join(its)


def can_hold(model: Any) -> bool:
    """Whether rows of ``model`` can come and go: a decoder whose layers all keep plain keys and values."""
    if model.config.is_encoder_decoder or not model._supports_default_dynamic_cache():
        return False
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
