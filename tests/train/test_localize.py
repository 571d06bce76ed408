import pytest
import torch
from transformers import AutoModelForImageTextToText

from medclm.errors import MedclmError
from medclm.train import localize
from medclm.train.collate import Encoder, collate
from medclm.train.losses import Weights, counts, loss_of
from medclm.train.model import load_base
from medclm.train.views import make_view
from tests.train.conftest import make_record


def batch_of(encoder, layers, heads=(), form="mass"):
    records = [make_record(n) for n in range(3)]
    views = [make_view(r, r.questions[n], "medium", encoder.family) for n, r in enumerate(records)]
    return collate(encoder, views, layers, heads, form)


def by_eager(tiny_dir, batch, layer, heads):
    """L_loc as a sum over rows from eager attention weights, and the model it came from."""
    model = AutoModelForImageTextToText.from_pretrained(tiny_dir, attn_implementation="eager")
    out = model(**batch.inputs, attention_mask=batch.attention_mask, output_attentions=True, use_cache=False)
    target, total = batch.localize, 0.0
    for n, example in enumerate(target.examples.tolist()):
        for row, used in zip(target.rows[n].tolist(), target.row_mask[n].tolist(), strict=True):
            if used:
                weights = out.attentions[layer][example, list(heads)][:, row, target.image_index[n]]
                weights = weights / weights.sum(-1, keepdim=True)
                total = total + ((1 - (weights * target.weights[n]).sum(-1)) ** 2).mean()
    return total, model


@pytest.mark.parametrize("heads", [(0, 1), (1,)])
def test_it_equals_eager_attention_with_gradients(tiny_dir, encoder, heads):
    batch = batch_of(encoder, (1,), heads)
    ours = load_base(str(tiny_dir)).model
    assert localize.install(ours, (1,), heads) == (1,)
    ours(**batch.inputs, use_cache=False, localize=batch.localize)
    loss, mass = localize.total(batch.localize)
    wanted, eager = by_eager(tiny_dir, batch, 1, heads)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert 0 < mass.item() < batch.localize.row_mask.sum()
    loss.backward()
    wanted.backward()
    compared = 0
    for (name, a), (_, b) in zip(ours.named_parameters(), eager.named_parameters(), strict=True):
        if b.grad is not None and a.grad is not None:
            assert torch.allclose(a.grad, b.grad, atol=1e-5), name
            compared += int(b.grad.abs().sum() > 0)
    assert compared > 10


def test_a_pass_without_a_target_is_plain_sdpa(tiny_dir, encoder):
    batch = batch_of(encoder, (1,))
    ours, plain = load_base(str(tiny_dir)).model, load_base(str(tiny_dir)).model
    localize.install(ours, (1,), ())
    assert torch.equal(ours(**batch.inputs).logits, plain(**batch.inputs).logits)
    assert batch.localize.found == {}


def test_kl_form_is_zero_where_attention_is_the_box():
    target = localize.Target(
        examples=torch.tensor([0]),
        rows=torch.tensor([[0]]),
        row_mask=torch.tensor([[True]]),
        image_index=torch.tensor([[0, 1, 2]]),
        image_mask=torch.tensor([[True, True, True]]),
        weights=torch.tensor([[1.0, 1.0, 0.0]]),
        form="kl",
    )
    key = torch.tensor([[100.0], [100.0], [0.0]]).reshape(1, 1, 3, 1)
    localize.record(target, 0, torch.ones(1, 1, 3, 1), key, 1.0)
    loss, mass = localize.total(target)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert mass.item() == pytest.approx(1)


def test_mass_form_by_hand():
    target = localize.Target(
        examples=torch.tensor([0]),
        rows=torch.tensor([[2, 0]]),
        row_mask=torch.tensor([[True, False]]),
        image_index=torch.tensor([[0, 1]]),
        image_mask=torch.tensor([[True, True]]),
        weights=torch.tensor([[1.0, 0.0]]),
    )
    key = torch.tensor([[1.0986123], [0.0], [7.0]]).reshape(1, 1, 3, 1)  # ln 3: attention 3/4 and 1/4 of the image
    localize.record(target, 0, torch.ones(1, 1, 3, 1), key, 1.0)
    loss, mass = localize.total(target)
    assert loss.item() == pytest.approx(1 / 16)
    assert mass.item() == pytest.approx(3 / 4)


def test_patch_weights_by_hand():
    # an 80 x 60 picture on a 2 x 4 grid: patches of 20 wide, 30 high. The box covers half of one, a quarter of the next
    weights = localize.patch_weights(((10.0, 0.0, 25.0, 30.0),), (60, 80), (2, 4))
    assert weights.tolist() == [1.0, 0.5, 0, 0, 0, 0, 0, 0]
    assert localize.patch_weights((), (60, 80), (2, 4)).sum() == 0


def test_a_layer_that_does_not_exist(tiny_dir):
    with pytest.raises(MedclmError, match="layers 0 to 1, heads 0 to 1"):
        localize.install(load_base(str(tiny_dir)).model, (2,), ())


def test_lora_and_loss_see_it(tiny_dir, encoder):
    from medclm.train.model import add_lora

    loaded = load_base(str(tiny_dir))
    layers = localize.install(loaded.model, (), ())
    model = add_lora(loaded.model, loaded.family, 2, 4, 0.0)
    batch = batch_of(encoder, layers)
    share, seen = loss_of(model, batch, counts([batch]), Weights(answer=0, reasoning=0, localization=1))
    share.backward()
    grads = [p.grad.abs().sum().item() for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert sum(grads) > 0
    assert isinstance(encoder, Encoder)
    assert seen["mass"] > 0
