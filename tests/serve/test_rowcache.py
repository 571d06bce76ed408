"""Rows that come and go, on numbers that can be followed by eye."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.serve.rowcache import RowCache, can_hold


def column(*values: float) -> torch.Tensor:
    """One new column for B rows, one head, one number."""
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def rows(cache: RowCache) -> list[list[float]]:
    return cache.layers[0].keys[:, 0, :, 0].tolist()


def test_join_and_keep_by_hand():
    cache, other = RowCache(), RowCache()
    for n in (1.0, 2.0, 3.0):
        cache.update(column(n), -column(n), 0)
    other.update(column(7.0, 8.0), -column(7.0, 8.0), 0)
    cache.join(other)
    assert rows(cache) == [[1, 2, 3], [0, 0, 7], [0, 0, 8]]
    cache.update(column(4, 5, 6), -column(4, 5, 6), 0)
    assert rows(cache) == [[1, 2, 3, 4], [0, 0, 7, 5], [0, 0, 8, 6]]
    cache.keep([2, 1], 2)
    assert rows(cache) == [[8, 6], [7, 5]]
    assert cache.layers[0].values[:, 0, :, 0].tolist() == [[-8, -6], [-7, -5]]
    assert cache.get_seq_length() == 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["step", "join", "leave"]), max_size=60))
def test_any_history_keeps_every_row(actions):
    """The last numbers of each row are those that were written, whatever came and went beside it."""
    cache, expected, counter = RowCache(), [[1.0]], 1.0
    cache.update(column(1.0), column(1.0), 0)
    for action in actions:
        counter += 1
        if action == "join":
            other = RowCache()
            other.update(torch.full((1, 1, 3, 1), counter), torch.zeros(1, 1, 3, 1), 0)
            cache.join(other)
            expected.append([counter] * 3)
        elif action == "leave" and len(expected) > 1:
            expected.pop(0)
            spare = cache.get_seq_length() - max(map(len, expected))
            cache.keep(list(range(1, len(expected) + 1)), spare)
        else:
            cache.update(column(*[counter] * len(expected)), column(*[0.0] * len(expected)), 0)
            expected = [[*row, counter] for row in expected]
    assert [row[-len(want) :] for row, want in zip(rows(cache), expected, strict=True)] == expected


def test_which_models_it_can_hold(predictor):
    from transformers import MambaConfig, MambaForCausalLM

    assert can_hold(predictor.model)
    mamba = MambaForCausalLM(MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, state_size=4))
    assert not can_hold(mamba)
