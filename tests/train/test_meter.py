import pytest
import torch

from medclm.train.collate import collate
from medclm.train.meter import Meter, add_losses, merged
from medclm.train.views import make_view
from tests.train.conftest import make_record


@pytest.fixture
def batch(encoder):
    records = [make_record(n) for n in range(2)]
    stages = ("easy", "hard")
    views = [make_view(r, r.questions[0], s, encoder.family) for r, s in zip(records, stages, strict=True)]
    return collate(encoder, views)


def losses(batch):
    """The first example's tokens cost 1, 2, 3 …; the second's 10 each."""
    first = int((batch.owner == 0).sum())
    return torch.cat([torch.arange(1.0, first + 1), torch.full((len(batch.owner) - first,), 10.0)])


def test_a_domains_loss_is_the_mean_over_examples_of_their_mean_over_tokens(batch):
    sums = {}
    add_losses(sums, batch, losses(batch).double())
    first = int((batch.owner == 0).sum())
    assert sums == {"nodule/CR": {"easy": ((first + 1) / 2, 1.0), "hard": (10.0, 1.0)}}


def test_numbers_by_hand(batch):
    meter, ce = Meter(), losses(batch)
    meter.add(batch, {"ce": ce, "localization": 0.0, "mass": 0.0}, torch.tensor(2.0), flops=3e12)
    meter.step()
    found, drawn = meter.flush()
    assert drawn == {"nodule/CR/easy": 1, "nodule/CR/hard": 1}
    assert found["loss"] == 2.0
    assert found["hard/answer"] == 10.0
    assert found["easy/share"] == 0.5
    answers = batch.is_answer & (batch.owner == 0)
    assert found["easy/answer"] == pytest.approx(float(ce[answers].mean()))
    real = int(batch.attention_mask.sum())
    assert found["padding"] == pytest.approx(1 - real / batch.attention_mask.numel())
    assert found["tokens_per_s"] == pytest.approx(found["images_per_s"] * real / 2)
    assert found["tflops"] == pytest.approx(3 * found["images_per_s"] / 2)
    assert "localization" not in found


def test_a_window_is_taken_once(batch):
    meter = Meter()
    meter.add(batch, {"ce": losses(batch), "localization": 0.0, "mass": 0.0}, torch.tensor(2.0))
    assert meter.take_window()["nodule/CR"]["hard"] == (10.0, 1.0)
    assert meter.take_window() == {}


def test_merged_adds_up():
    one, two = {"a": {"easy": (1.0, 2.0)}}, {"a": {"easy": (3.0, 1.0), "hard": (1.0, 1.0)}, "b": {"easy": (5.0, 1.0)}}
    assert merged([one, two]) == {"a": {"easy": (4.0, 3.0), "hard": (1.0, 1.0)}, "b": {"easy": (5.0, 1.0)}}
