import resource

import pytest
import torch

from medclm.errors import MedclmError
from medclm.train import checkpoint
from medclm.train.checkpoint import Progress
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
    progress = Progress(2, {0: Position(1, 2, 3)}, {"0": {}}, {"d": {"easy": (1.5, 2.0)}})
    checkpoint.save(tmp_path, whole, optimizer, progress)
    train(whole, optimizer, encoder, range(2, 4))

    resumed, optimizer = make(tiny_dir, lora)
    assert checkpoint.load(tmp_path, resumed, optimizer) == progress
    checkpoint.verify(tmp_path, resumed)
    train(resumed, optimizer, encoder, range(2, 4))
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_lora_checkpoint_holds_the_adapter_only(tiny_dir, encoder, tmp_path):
    from torch.distributed.checkpoint import FileSystemReader

    model, optimizer = make(tiny_dir, True)
    train(model, optimizer, encoder, range(1))
    checkpoint.save(tmp_path, model, optimizer, Progress(1))
    keys = [k for k in FileSystemReader(str(tmp_path)).read_metadata().state_dict_metadata if k.startswith("model.")]
    assert keys
    assert all("lora_" in key for key in keys)


def test_weights_come_back_without_the_optimizer(tiny_dir, encoder, tmp_path):
    model, optimizer = make(tiny_dir, False)
    train(model, optimizer, encoder, range(1))
    checkpoint.save(tmp_path, model, optimizer, Progress(1))
    other, _ = make(tiny_dir, False)
    assert checkpoint.load_weights(tmp_path, other) == 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_no_checkpoint(tiny_dir, tmp_path):
    with pytest.raises(MedclmError, match="no checkpoint"):
        checkpoint.load_weights(tmp_path, make(tiny_dir, False)[0])


def test_a_changed_weight_is_found_out(tiny_dir, encoder, tmp_path):
    model, optimizer = make(tiny_dir, True)
    train(model, optimizer, encoder, range(1))
    checkpoint.save(tmp_path, model, optimizer, Progress(1))
    next(p for p in model.parameters() if p.requires_grad).data[0, 0] += 1e-6
    with pytest.raises(MedclmError, match="does not hold what the model holds"):
        checkpoint.verify(tmp_path, model)


@pytest.mark.parametrize("room", [0, 3000, 9000])
def test_a_full_disk_is_explained_and_the_last_checkpoint_is_whole(tiny_dir, encoder, tmp_path, room):
    model, optimizer = make(tiny_dir, True)
    train(model, optimizer, encoder, range(1))
    checkpoint.save(tmp_path / "good", model, optimizer, Progress(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))  # no file may grow past this, as on a full disk
    try:
        with pytest.raises(MedclmError, match="cannot be written") as caught:
            checkpoint.save(tmp_path / "bad", model, optimizer, Progress(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "free some space" in str(caught.value)
    checkpoint.verify(tmp_path / "good", model)


def ranks(world, streams=4):
    """What ``world`` ranks saved: each with its streams and a loss of its own."""
    return [
        {
            "step": 5,
            "world": world,
            "positions": {n: (0, 0, n) for n in range(rank * streams // world, (rank + 1) * streams // world)},
            "course": {"1": {}},
            "window": {"d": {"easy": (float(rank + 1), 1.0)}},
        }
        for rank in range(world)
    ]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 4), (4, 2), (4, 1), (1, 4)])
def test_another_number_of_ranks_takes_over_every_stream_and_every_loss_once(before, after):
    found = [checkpoint._progress(ranks(before), rank, after) for rank in range(after)]
    assert all(progress.positions == {n: Position(0, 0, n) for n in range(4)} for progress in found)
    total = sum(progress.window["d"]["easy"][0] for progress in found if progress.window)
    assert total == sum(range(1, before + 1))


def test_a_missing_rank_file_is_an_error():
    with pytest.raises(MedclmError, match="not whole"):
        checkpoint._progress(ranks(2)[:1], 0, 1)
