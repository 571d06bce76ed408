import pytest
import torch

from medclm.errors import MedclmError
from medclm.train import checkpoint
from medclm.train.collate import collate
from medclm.train.data import Position
from medclm.train.losses import Weights, counts, loss_of
from medclm.train.model import add_lora, load_base
from medclm.train.views import make_view
from tests.train.conftest import make_record


def make(tiny_dir, lora):
    torch.manual_seed(0)
    loaded = load_base(str(tiny_dir))
    model = add_lora(loaded.model, loaded.family, 2, 4, 0.1) if lora else loaded.model
    return model.train(), torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)


def train(model, optimizer, encoder, steps):
    for step in steps:
        views = [make_view(r, r.questions[0], "medium", encoder.family) for r in map(make_record, (step, step + 1))]
        batch = collate(encoder, views)
        loss_of(model, batch, counts([batch]), Weights())[0].backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("lora", [False, True])
def test_interrupted_and_resumed_is_bit_for_bit_uninterrupted(tiny_dir, encoder, tmp_path, lora):
    whole, optimizer = make(tiny_dir, lora)
    train(whole, optimizer, encoder, range(2))
    checkpoint.save(tmp_path, whole, optimizer, 2, Position(1, 2, 3))
    train(whole, optimizer, encoder, range(2, 4))

    resumed, optimizer = make(tiny_dir, lora)
    assert checkpoint.load(tmp_path, resumed, optimizer) == (2, Position(1, 2, 3))
    train(resumed, optimizer, encoder, range(2, 4))
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_lora_checkpoint_holds_the_adapter_only(tiny_dir, encoder, tmp_path):
    from torch.distributed.checkpoint import FileSystemReader

    model, optimizer = make(tiny_dir, True)
    train(model, optimizer, encoder, range(1))
    checkpoint.save(tmp_path, model, optimizer, 1, Position())
    keys = [k for k in FileSystemReader(str(tmp_path)).read_metadata().state_dict_metadata if k.startswith("model.")]
    assert keys
    assert all("lora_" in key for key in keys)


def test_weights_come_back_without_the_optimizer(tiny_dir, encoder, tmp_path):
    model, optimizer = make(tiny_dir, False)
    train(model, optimizer, encoder, range(1))
    checkpoint.save(tmp_path, model, optimizer, 1, Position())
    other, _ = make(tiny_dir, False)
    assert checkpoint.load_weights(tmp_path, other) == 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_no_checkpoint(tiny_dir, tmp_path):
    with pytest.raises(MedclmError, match="no checkpoint"):
        checkpoint.load_weights(tmp_path, make(tiny_dir, False)[0])
