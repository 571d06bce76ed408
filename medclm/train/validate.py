"""Held-out accuracy while training: greedy answers on the validate split, every rank in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medclm.data.records import Question, Record
from medclm.train.collate import FORCED, Encoder, prompts
from medclm.train.parallel import all_sum, gather, reshard, world_size
from medclm.train.views import parse_answer, pixels

if TYPE_CHECKING:
    import torch

MAX_NEW_TOKENS = 160


def held_out(directory: str, split: str, limit: int) -> list[tuple[Record, Question]]:
    """At most ``limit`` questions of a split, taken evenly over its records: the same on every rank."""
    from medclm.data.shards import read_records

    records = list(read_records(directory, split, limit))
    asked = [(record, record.single_picture_questions) for record in records]
    turns = max((len(questions) for _, questions in asked), default=0)
    pairs = [(record, q[turn]) for turn in range(turns) for record, q in asked if turn < len(q)]
    return pairs[:limit]


def accuracy(
    model: Any,
    encoder: Encoder,
    pairs: Sequence[tuple[Record, Question]],
    rank: int,
    device: torch.device,
    mode: str = "reason",
) -> float:
    """Share of right answers over all ranks; each rank answers its part in one batch, all run equally many tokens.

    Args:
        pairs: the same on every rank.
        mode: ``reason`` or ``answer``.
    """
    import torch

    mine = [pairs[n % len(pairs)] for n in range(rank, -(-len(pairs) // world_size()) * world_size(), world_size())]
    counted = len(pairs[rank :: world_size()])
    inputs = prompts(encoder, [pixels(r.image) for r, _ in mine if r.image], [q.question for _, q in mine], mode)  # type: ignore[arg-type]
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    model.eval()
    gather(model)
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, synced_gpus=world_size() > 1)
    reshard(model)
    model.train()
    texts = encoder.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    right = sum(
        _same(parse_answer(FORCED[mode] + text, (1, 1), encoder.family).answer, question.answer)
        for text, (_, question) in list(zip(texts, mine, strict=True))[:counted]
    )
    total = all_sum(torch.tensor([right, counted], dtype=torch.float64))
    return float(total[0] / total[1])


def _same(answer: str, wanted: str) -> bool:
    return answer.lower().split() == wanted.lower().split()
