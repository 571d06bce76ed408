"""Held-out questions while training: greedy answers, and the losses that the schedule decides by. Ranks in step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medclm.data.records import Question, Record
from medclm.train.collate import FORCED, Encoder, prompts
from medclm.train.meter import Sums, add_losses, merged
from medclm.train.parallel import all_objects, all_sum, gather, reshard, world_size
from medclm.train.views import Example, has_pictures, parse_answer, pictures_of

if TYPE_CHECKING:
    import torch

    from medclm.train.collate import Batch

MAX_NEW_TOKENS = 160
MOST_AT_ONCE = 64
"""Questions of one call of `generate`."""
Pairs = Sequence[tuple[Record, Question]]


def held_out(directory: str, split: str, limit: int) -> list[tuple[Record, Question]]:
    """At most ``limit`` questions of a split, taken evenly over its records: the same on every rank."""
    from medclm.data.shards import read_records

    records = list(read_records(directory, split, limit))
    asked = [(record, [q for q in record.questions if has_pictures(record, q)]) for record in records]
    turns = max((len(questions) for _, questions in asked), default=0)
    pairs = [(record, q[turn]) for turn in range(turns) for record, q in asked if turn < len(q)]
    return pairs[:limit]


def answers(
    model: Any, encoder: Encoder, pairs: Pairs, rank: int, device: torch.device, mode: str = "reason"
) -> list[str]:
    """This rank's greedy answers to ``pairs[rank::ranks]``, forced beginning included; all ranks run equally long.

    Args:
        pairs: the same on every rank.
        mode: ``reason`` or ``answer``.
    """
    import torch

    mine = [
        pairs[n % len(pairs)] for n in range(rank, math.ceil(len(pairs) / world_size()) * world_size(), world_size())
    ]
    model.eval()
    gather(model)
    texts: list[str] = []
    for start in range(0, len(mine), MOST_AT_ONCE):
        part = mine[start : start + MOST_AT_ONCE]
        pictures = [pictures_of(*pair) for pair in part]
        inputs = prompts(encoder, pictures, [question.question for _, question in part], mode)  # type: ignore[arg-type]
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        with torch.no_grad():
            out = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, synced_gpus=world_size() > 1)
        texts += encoder.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    reshard(model)
    model.train()
    return [FORCED[mode] + text for text in texts[: len(pairs[rank :: world_size()])]]


def accuracy(texts: list[str], encoder: Encoder, pairs: Pairs, rank: int) -> float:
    """Share of right answers over all ranks; ``texts`` from :func:`answers`."""
    import torch

    mine = pairs[rank :: world_size()]
    right = sum(
        _same(parse_answer(text, (1, 1), encoder.family).answer, question.answer)
        for text, (_, question) in zip(texts, mine, strict=True)
    )
    total = all_sum(torch.tensor([right, len(mine)], dtype=torch.float64))
    return float(total[0] / total[1])


def batches_of(
    pairs: Pairs, rank: int, view: Callable[[Record, Question, str], Example],
    make_batch: Callable[[list[Example]], Batch], size: int,
) -> list[tuple[Batch, bool]]:  # fmt: skip
    """This rank's Easy and Medium batches of the held-out questions, and whether each counts.

    Every rank has equally many batches; where a rank has fewer, its last ones repeat and do not count.
    """
    explained = [(record, question) for record, question in pairs if question.reasoning]
    views = [view(*pair, stage) for pair in explained for stage in ("easy", "medium")]
    if len(views) < world_size():
        return []
    views.sort(key=lambda example: len(example.target))
    mine = views[rank :: world_size()]
    rounds = math.ceil(math.ceil(len(views) / world_size()) / size)
    parts = [mine[n * size : (n + 1) * size] for n in range(rounds)]
    return [(make_batch(part or mine[:size]), bool(part)) for part in parts]


def losses(model: Any, batches: list[tuple[Batch, bool]], device: torch.device) -> Sums:
    """The mean token losses of held-out batches by domain and stage, over all ranks, the same on each."""
    import torch

    sums: Sums = {}
    model.eval()
    with torch.no_grad():
        for batch, counts in batches:
            batch = batch.to(device)
            logits = model(**batch.inputs, logits_to_keep=batch.keep, use_cache=False).logits
            ce = torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
            if counts:
                add_losses(sums, batch, ce.double().cpu())
    reshard(model)
    model.train()
    return merged(all_objects(sums))


def _same(answer: str, wanted: str) -> bool:
    return answer.lower().split() == wanted.lower().split()
