import pytest
import torch
from transformers import AutoModelForImageTextToText

from medclm.errors import MedclmError
from medclm.train import localize
from medclm.train.collate import collate
from medclm.train.heads import choose_heads, rank_heads
from medclm.train.losses import Weights, counts, loss_of
from medclm.train.model import load_base
from medclm.train.views import make_view
from tests.train.conftest import make_record


@pytest.mark.parametrize("name", ["smolvlm", "qwen3_vl", "gemma3", "paligemma"])
def test_scores_are_eager_attention_s_image_mass(family_dirs, family_bases, name):
    _, encoder = family_bases(name)
    records = [make_record(n) for n in range(3)]
    views = [make_view(r, r.questions[n], "medium", encoder.family) for n, r in enumerate(records)]
    scores = rank_heads(load_base(str(family_dirs(name))).model, encoder, views, batch_size=2)
    eager = AutoModelForImageTextToText.from_pretrained(family_dirs(name), attn_implementation="eager").eval()
    batch = collate(encoder, views)
    with torch.no_grad():
        out = eager(**batch.inputs, attention_mask=batch.attention_mask, output_attentions=True)
    images = batch.inputs["input_ids"] == encoder.image_token_id
    assert [score for *_, score in scores] == sorted((score for *_, score in scores), reverse=True)
    assert len(scores) == sum(attention.shape[1] for attention in out.attentions)
    for layer, head, score in scores:
        mass = (out.attentions[layer][:, head] * images[:, None, :]).sum(-1)
        assert score == pytest.approx(mass[batch.keep].mean().item(), abs=1e-5)


def test_heads_are_measured_under_lora_too(family_dirs, family_bases):
    from medclm.train.model import add_lora

    loaded, (_, encoder) = load_base(str(family_dirs("llava-clip"))), family_bases("llava-clip")
    record = make_record(0)
    views = [make_view(record, record.questions[0], "medium", encoder.family)]
    plain = rank_heads(loaded.model, encoder, views)
    adapted = add_lora(loaded.model, loaded.family, 2, 4, 0.0).train()  # adapters begin as nothing
    assert rank_heads(adapted, encoder, views) == plain
    assert adapted.training


def test_the_best_heads_by_layer():
    scores = [(1, 0, 0.9), (0, 3, 0.7), (1, 2, 0.8), (0, 1, 0.1), (2, 0, 0.7)]
    assert choose_heads(scores, 1) == {1: (0,)}
    assert choose_heads(scores, 3) == {0: (3,), 1: (0, 2)}  # a tie goes to the earlier layer
    assert choose_heads(scores, 5) == {0: (1, 3), 1: (0, 2), 2: (0,)}
    for count in (0, 6):
        with pytest.raises(MedclmError, match="so many heads"):
            choose_heads(scores, count)


def test_chosen_heads_are_supervised(family_dirs, family_bases):
    _, encoder = family_bases("llava-clip")
    model = load_base(str(family_dirs("llava-clip"))).model
    heads = {0: (1,), 2: (0, 3)}
    layers = localize.install(model, (), heads)
    assert layers == (0, 2)
    record = make_record(0)
    view = make_view(record, record.questions[0], "medium", encoder.family)
    batch = collate(encoder, [view], layers, heads)
    _, seen = loss_of(model, batch, counts([batch]), Weights())
    assert {layer: found.shape[1] for layer, found in batch.localize.found.items()} == {0: 1, 2: 2}
    alone = []
    for layer, head in ((0, 1), (2, 0), (2, 3)):
        one = collate(encoder, [view], (layer,), (head,))
        alone.append(float(loss_of(model, one, counts([one]), Weights())[1]["localization"]))
    assert float(seen["localization"]) == pytest.approx(sum(alone) / 3, rel=1e-5)


def test_measuring_needs_examples(family_bases):
    loaded, encoder = family_bases("llava-clip")
    with pytest.raises(MedclmError, match="without examples"):
        rank_heads(loaded.model, encoder, [])
