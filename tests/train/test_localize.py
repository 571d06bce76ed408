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
        for row, used, place in zip(
            *(t[n].tolist() for t in (target.rows, target.row_mask, target.places)), strict=True
        ):
            if used:
                weights = out.attentions[layer][example, list(heads)][:, row, target.image_index[n]]
                weights = weights / weights.sum(-1, keepdim=True)
                total = total + ((1 - (weights * target.weights[n, place]).sum(-1)) ** 2).mean()
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
        weights=torch.tensor([[[1.0, 1.0, 0.0]]]),
        places=torch.tensor([[0]]),
        layers=(0,),
        form="kl",
    )
    key = torch.tensor([[100.0], [100.0], [0.0]]).reshape(1, 1, 3, 1)
    target.observe(localize.Seen(0, torch.ones(1, 1, 3, 1), key, 1.0, None, None))
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
        weights=torch.tensor([[[1.0, 0.0]]]),
        places=torch.tensor([[0, 0]]),
        layers=(0,),
    )
    key = torch.tensor([[1.0986123], [0.0], [7.0]]).reshape(1, 1, 3, 1)  # ln 3: attention 3/4 and 1/4 of the image
    target.observe(localize.Seen(0, torch.ones(1, 1, 3, 1), key, 1.0, None, None))
    loss, mass = localize.total(target)
    assert loss.item() == pytest.approx(1 / 16)
    assert mass.item() == pytest.approx(3 / 4)


def test_each_row_looks_at_its_own_place():
    target = target_of([2, 2, 2], [0, 1], [1.0, 0.0])
    target.weights = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    target.places = torch.tensor([[0, 1, 2]])
    key = torch.tensor([[1.0986123], [0.0], [7.0]]).reshape(1, 1, 3, 1)  # attention 3/4 and 1/4 of the image
    target.observe(localize.Seen(0, torch.ones(1, 1, 3, 1), key, 1.0, None, None))
    assert target.masses[0].flatten().tolist() == pytest.approx([0.75, 0.25, 1.0])
    assert target.found[0].flatten().tolist() == pytest.approx([1 / 16, 9 / 16, 0], abs=1e-6)


def test_patch_weights_by_hand():
    # an 80 x 60 picture on a 2 x 4 grid: patches of 20 wide, 30 high. The box covers half of one, a quarter of the next
    weights = localize.patch_weights(((10.0, 0.0, 25.0, 30.0),), (60, 80), (2, 4))
    assert weights.tolist() == [1.0, 0.5, 0, 0, 0, 0, 0, 0]
    assert localize.patch_weights((), (60, 80), (2, 4)).sum() == 0


def seen_of(query, key, mask=None, window=None):
    return localize.Seen(0, query, key, 1.0, mask, window)


def target_of(rows, image_index, weights, image_mask=None, form="mass"):
    index = torch.tensor([image_index])
    return localize.Target(
        examples=torch.tensor([0]),
        rows=torch.tensor([rows]),
        row_mask=torch.ones(1, len(rows), dtype=torch.bool),
        image_index=index,
        image_mask=torch.ones_like(index, dtype=torch.bool) if image_mask is None else torch.tensor([image_mask]),
        weights=torch.tensor([[weights]]),
        places=torch.zeros(1, len(rows), dtype=torch.int64),
        layers=(0,),
        form=form,
    )


@pytest.mark.parametrize("form", ["mass", "kl"])
def test_padded_image_tokens_count_for_nothing(form):
    torch.manual_seed(0)
    query, key = torch.randn(1, 4, 8, 4), torch.randn(1, 2, 8, 4)
    plain = target_of([5, 6], [1, 2, 3], [1.0, 0.5, 0.0], form=form)
    padded = target_of([5, 6], [1, 2, 3, 0, 0], [1.0, 0.5, 0.0, 0.0, 0.0], [True, True, True, False, False], form)
    for target in (plain, padded):
        target.observe(seen_of(query, key))
    assert torch.allclose(plain.found[0], padded.found[0], atol=1e-6)
    assert torch.allclose(plain.masses[0], padded.masses[0], atol=1e-6)


def test_a_window_and_its_mask_hide_the_same_tokens():
    torch.manual_seed(0)
    query, key = torch.randn(1, 2, 8, 4), torch.randn(1, 2, 8, 4)
    gap = torch.arange(8)[:, None] - torch.arange(8)
    mask = ((gap >= 0) & (gap < 4))[None, None]
    additive = torch.zeros(1, 1, 8, 8).masked_fill(~mask, torch.finfo(torch.float32).min)
    found = []
    for how in ({"window": 4}, {"mask": mask}, {"mask": additive}):
        target = target_of([4, 5, 7], [0, 1, 2], [1.0, 1.0, 0.0])
        target.observe(seen_of(query, key, **how))
        found.append(target)
    # row 4 sees tokens 1 and 2 of the image, row 5 only 2 (outside the box), row 7 none
    assert torch.allclose(found[0].masses[0][0, :, 1], torch.zeros(2))
    assert (found[0].found[0][0, :, 1] == 1).all()
    assert (found[0].found[0][0, :, 2] == 0).all()
    for other in found[1:]:
        assert torch.equal(found[0].found[0], other.found[0])


def largest_saved(length, images=64, rows=32):
    """Elements of the largest tensor that L_loc keeps for its backward pass, inputs left out."""
    query = torch.randn(1, 4, length, 8, requires_grad=True)
    key = torch.randn(1, 2, length, 8, requires_grad=True)
    target = target_of(list(range(length - rows, length)), list(range(images)), [1.0] * images)
    given, sizes = {t.untyped_storage().data_ptr() for t in (query, key)}, []

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in given:
            sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        target.observe(seen_of(query, key))
        localize.total(target)[0].backward()
    return max(sizes)


def test_memory_does_not_grow_with_the_length():
    assert largest_saved(256) == largest_saved(2048) == 4 * 32 * 64  # heads x rows x image tokens
    assert largest_saved(2048, images=128) == 2 * 4 * 32 * 64


def test_another_implementation_keeps_its_name_and_does_the_work(tiny_dir, encoder):
    """What flash attention gets, by a function that counts; the kernel itself needs a GPU."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import flash_attention_mask

    calls = []

    def flash(module, query, key, value, attention_mask, **kwargs):
        calls.append((module.layer_idx, attention_mask, "localize" in kwargs))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    AttentionInterface.register("counted_flash", flash)
    AttentionMaskInterface.register("counted_flash", flash_attention_mask)
    model, plain = load_base(str(tiny_dir)).model, load_base(str(tiny_dir)).model
    model.config.text_config._attn_implementation_internal = "counted_flash"
    for _ in range(2):  # a second install does not wrap what is wrapped
        assert localize.install(model, (1,), ()) == (1,)
    assert model.config.text_config._attn_implementation == "counted_flash"
    ours, theirs = batch_of(encoder, (1,)), batch_of(encoder, (1,))
    assert torch.equal(model(**ours.inputs, localize=ours.localize).logits, plain(**ours.inputs).logits)
    assert calls == [(0, None, False), (1, None, False)]
    localize.install(plain, (1,), ())
    plain(**theirs.inputs, localize=theirs.localize)
    assert torch.equal(ours.localize.found[1], theirs.localize.found[1])


def test_the_default_layer_is_past_the_middle_and_sees_everything():
    class Text:
        num_hidden_layers, layer_types = 6, None

    assert localize._past_the_middle(Text()) == 3
    Text.layer_types = ["sliding_attention"] * 5 + ["full_attention"]
    assert localize._past_the_middle(Text()) == 5
    Text.layer_types = ["sliding_attention"] * 6
    assert localize._past_the_middle(Text()) == 3


def test_a_layer_that_does_not_exist(tiny_dir):
    with pytest.raises(MedclmError, match="layers 0 to 1, heads 0 to 1"):
        localize.install(load_base(str(tiny_dir)).model, (2,), ())


def test_capped_scores_are_refused(tiny_dir):
    model = load_base(str(tiny_dir)).model
    model.config.text_config.attn_logit_softcapping = 50.0
    with pytest.raises(MedclmError, match="capped scores"):
        localize.install(model, (), ())


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
