"""FSDP2 on one rank, with the options of a run; two ranks are in test_launch.py."""

import pytest
import torch
import torch.distributed as dist

from medclm.train import losses, parallel
from medclm.train.collate import collate
from medclm.train.model import load_base
from medclm.train.views import make_view
from tests.train.conftest import make_record


@pytest.fixture(scope="module", autouse=True)
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def gradients(tiny_dir, encoder, checkpointed=False, **options):
    """(loss, gradients by name, dtypes of the weights) of one batch."""
    loaded = load_base(str(tiny_dir))
    model = loaded.model.train()
    if checkpointed:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model = parallel.shard(model, loaded.family.blocks, torch.device("cpu"), **options)
    records = [make_record(n) for n in range(2)]
    batch = collate(encoder, [make_view(r, r.questions[0], "medium", encoder.family) for r in records])
    loss, _ = losses.loss_of(model, batch, losses.counts([batch]), losses.Weights())
    loss.backward()
    found = {name: parallel._local(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    return float(loss), found, {p.dtype for p in model.parameters()}


@pytest.fixture(scope="module")
def plain(tiny_dir):
    from medclm.train.collate import Encoder

    loaded = load_base(str(tiny_dir))
    return gradients(tiny_dir, Encoder(loaded.processor, loaded.family))


@pytest.mark.parametrize("options", [{"offload": True}, {"checkpointed": True}, {"offload": True, "reshard": True}])
def test_options_change_no_gradient(tiny_dir, encoder, plain, options):
    loss, found, dtypes = gradients(tiny_dir, encoder, **options)
    assert loss == pytest.approx(plain[0], rel=1e-6)
    assert found.keys() == plain[1].keys()
    assert all(torch.allclose(found[name], plain[1][name], atol=1e-6) for name in found)
    assert dtypes == {torch.float32}


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_and_gradients_in_float32(tiny_dir, encoder, plain):
    loss, found, dtypes = gradients(tiny_dir, encoder, mixed=True)
    assert loss == pytest.approx(plain[0], rel=0.02)
    assert loss != plain[0]
    assert dtypes == {torch.float32}
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}


def test_clipping_by_hand():
    weights = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert parallel.clip_gradients(weights, 1.0) == pytest.approx(5.0)
    assert weights[0].grad.tolist() == pytest.approx([0.6, 0.0])
    assert weights[1].grad.tolist() == pytest.approx([0.8])
    assert parallel.clip_gradients(weights, 10.0) == pytest.approx(1.0)
    assert weights[1].grad.tolist() == pytest.approx([0.8])


def test_one_rank_gathers_its_own():
    assert parallel.all_objects({"a": 1}) == [{"a": 1}]
    assert parallel.all_sum(torch.tensor([2.0])).tolist() == [2.0]


@pytest.mark.parametrize("reshard", [False, True])
def test_weights_stay_gathered_between_micro_batches_and_gradients_add_up(tiny_dir, encoder, plain, reshard):
    from torch.distributed.tensor import DTensor

    loaded = load_base(str(tiny_dir))
    model = parallel.shard(
        loaded.model.train(), loaded.family.blocks, torch.device("cpu"), offload=True, reshard=reshard
    )
    records = [make_record(n) for n in range(2)]
    batch = collate(encoder, [make_view(r, r.questions[0], "medium", encoder.family) for r in records])
    sharded = []
    for last in (False, True):
        parallel.sync_ranks(model, last, reshard)
        losses.loss_of(model, batch, losses.counts([batch]), losses.Weights())[0].backward()
        sharded.append({isinstance(parameter, DTensor) for parameter in model.parameters()})
    assert sharded == [{reshard}, {True}]
    found = {name: parallel._local(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    assert all(torch.allclose(found[name], 2 * plain[1][name], atol=2e-6) for name in found)
