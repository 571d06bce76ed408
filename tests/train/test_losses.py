import pytest
import torch

from medclm.train.collate import collate
from medclm.train.losses import Weights, counts, loss_of
from medclm.train.views import make_view
from tests.train.conftest import make_record

RECORDS = [make_record(n) for n in range(4)]


def views_of(loaded):
    stages = ("medium", "hard", "medium", "hard")
    return [make_view(r, r.questions[n % 2], s, loaded.family) for n, (r, s) in enumerate(zip(RECORDS, stages))]  # noqa: B905


def test_counts_are_tokens_and_rows(loaded, encoder):
    batch = collate(encoder, views_of(loaded), (1,))
    answers, reasoning, rows = counts([batch, batch]).tolist()
    assert answers == 2 * int(batch.is_answer.sum())
    assert reasoning == 2 * int((~batch.is_answer).sum())
    assert rows == 2 * int(batch.localize.row_mask.sum())


def test_the_loss_by_hand(loaded, encoder):
    batch = collate(encoder, views_of(loaded))
    with torch.no_grad():
        share, seen = loss_of(loaded.model, batch, counts([batch]), Weights(0.8, 0.2, 0.0))
        logits = loaded.model(**batch.inputs, attention_mask=batch.attention_mask).logits
    answers, reasons = [], []
    for n, t in batch.keep.nonzero().tolist():
        ce = torch.nn.functional.cross_entropy(logits[n, t], batch.inputs["input_ids"][n, t + 1])
        hard = batch.examples[n].stage == "hard"
        place = len(answers) + len(reasons)
        (answers if batch.is_answer[place] else reasons).append(
            (ce if hard else 0.8 * ce) if batch.is_answer[place] else ce
        )
    wanted = torch.stack(answers).mean() + 0.2 * torch.stack(reasons).mean()
    assert share.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert len(seen["ce"]) == len(answers) + len(reasons)


def test_micro_batches_add_up_to_the_global_mean(loaded, encoder):
    views = views_of(loaded)
    whole, parts = collate(encoder, views), [collate(encoder, views[:1]), collate(encoder, views[1:])]
    with torch.no_grad():
        together, _ = loss_of(loaded.model, whole, counts([whole]), Weights())
        shares = [loss_of(loaded.model, part, counts(parts), Weights())[0] for part in parts]
    assert sum(share.item() for share in shares) == pytest.approx(together.item(), rel=1e-5)
