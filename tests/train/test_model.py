import pytest
import torch

from medclm.errors import MedclmError
from medclm.train import localize
from medclm.train.collate import collate
from medclm.train.model import add_lora, load_base, parameter_groups, set_trainable
from medclm.train.views import make_view
from tests.train.conftest import make_record


def load(family_dirs, name="llava-dinov2"):
    loaded = load_base(str(family_dirs(name)))
    return loaded, loaded.model, loaded.family


def trained_parts(model, family):
    return {family.part_of(name) for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["llava-dinov2", "qwen3_vl", "smolvlm"])
def test_parts_are_switched_on_and_off(family_dirs, name):
    _, model, family = load(family_dirs, name)
    counts = set_trainable(model, family, vision=False, projector=True, language=False)
    assert trained_parts(model, family) == {"projector"}
    assert counts["projector"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert counts["vision"] == counts["language"] == 0
    set_trainable(model, family, vision=True, projector=False, language=True)
    assert trained_parts(model, family) == {"vision", "language"}


def test_nothing_to_train_is_an_error(family_dirs):
    _, model, family = load(family_dirs)
    with pytest.raises(MedclmError, match="no parameter"):
        set_trainable(model, family, False, False, False)


def test_freezing_the_tower_leaves_the_merger(family_dirs):
    _, model, family = load(family_dirs, "qwen2_5_vl")
    set_trainable(model, family, vision=False, projector=True, language=True)
    assert trained_parts(model, family) == {"projector", "language"}


@pytest.mark.parametrize("name", ["llava-dinov2", "qwen3_vl", "gemma3", "paligemma", "internvl", "smolvlm"])
def test_lora_with_a_whole_projector_is_saved_and_comes_back(family_dirs, family_bases, tmp_path, name):
    from peft import PeftModel

    _, model, family = load(family_dirs, name)
    base, encoder = family_bases(name)
    model = add_lora(model, family, 2, 4, 0.0, whole_projector=True)
    counts = set_trainable(model, family, vision=False, projector=True, language=True)
    whole = sum(p.numel() for key, p in base.model.named_parameters() if family.part_of(key) == "projector")
    assert counts["projector"] == whole
    record = make_record(0)
    batch = collate(encoder, [make_view(record, record.questions[0], "medium", family)])
    optimizer = torch.optim.SGD(parameter_groups(model, family, {"vision": 0, "projector": 0.1, "language": 0.1}, 0))
    for _ in range(2):
        logits = model(**batch.inputs, logits_to_keep=batch.keep, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load_base(str(family_dirs(name))).model, str(tmp_path)).merge_and_unload().eval()
    before = base.model
    with torch.no_grad():
        trained = model(**batch.inputs).logits
        assert torch.allclose(again(**batch.inputs).logits, trained, atol=1e-4)
        assert not torch.allclose(before(**batch.inputs).logits, trained, atol=1e-2)
    changed = {
        family.part_of(key)
        for (key, a), (_, b) in zip(again.named_parameters(), before.named_parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert changed == {"projector", "language"}


def test_adapters_are_switched_by_part_and_the_base_stays_frozen(family_dirs):
    _, model, family = load(family_dirs)
    model = add_lora(model, family, 2, 4, 0.0)
    set_trainable(model, family, vision=True, projector=False, language=True)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(".lora_" in name and family.part_of(name) == "language" for name in trained)


def test_lora_targets_that_match_nothing(family_dirs):
    _, model, family = load(family_dirs)
    with pytest.raises(MedclmError, match="match no module") as error:
        add_lora(model, family, 2, 4, 0.0, targets=r".*c_attn")
    assert "language_model.layers.0.self_attn.q_proj" in error.value.details["expected"]
    assert error.value.details["remedy"]


def test_parameter_groups_by_hand(family_dirs):
    _, model, family = load(family_dirs)
    set_trainable(model, family, vision=False, projector=True, language=True)
    groups = parameter_groups(model, family, {"vision": 1.0, "projector": 2.0, "language": 3.0}, 0.5)
    assert [(g["part"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("language", 3.0, 0.0), ("language", 3.0, 0.5), ("projector", 2.0, 0.0), ("projector", 2.0, 0.5),
    ]  # fmt: skip
    assert all((p.ndim >= 2) == (g["weight_decay"] > 0) for g in groups for p in g["params"])
    assert sum(len(g["params"]) for g in groups) == sum(p.requires_grad for p in model.parameters())


def test_l_loc_trains_adapters_of_every_layer_before_it(family_dirs, family_bases):
    _, model, family = load(family_dirs, "qwen2_5_vl")
    _, encoder = family_bases("qwen2_5_vl")
    layers = localize.install(model, (2,), ())
    model = add_lora(model, family, 2, 4, 0.0)
    record = make_record(0)
    batch = collate(encoder, [make_view(record, record.questions[0], "medium", family)], layers)
    model(**batch.inputs, use_cache=False, localize=batch.localize)
    localize.total(batch.localize)[0].backward()
    reached = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert {f"layers.{n}." in name for n in range(3) for name in reached if "lora_B" in name} >= {True}
    for layer, kind in ((0, "v_proj"), (1, "down_proj"), (2, "q_proj"), (2, "k_proj")):
        assert any(f"layers.{layer}." in name and f"{kind}.lora_B" in name for name in reached)
    assert not any("layers.2." in name and "v_proj" in name for name in reached)
