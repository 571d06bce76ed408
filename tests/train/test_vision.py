from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from medclm.errors import UsageError
from medclm.train import vision
from medclm.train.tiny import TinySize, fits, tiny_model, train_tokenizer


def a_model(**more):
    size = TinySize(vocabulary=400, **more)
    return tiny_model(train_tokenizer(["Is there a nodule?"], size), size)


def test_the_default_size_is_the_one_that_the_shipped_weights_fit():
    assert fits(TinySize())
    assert not fits(TinySize(patch_size=12))


def test_the_shipped_weights_replace_the_random_ones():
    model = a_model()
    before = model.model.vision_model.embeddings.patch_embedding.weight.clone()
    vision.load_into(model)
    shipped = load_file(f"{vision.SHIPPED}.safetensors")["embeddings.patch_embedding.weight"]
    after = model.model.vision_model.embeddings.patch_embedding.weight
    assert torch.equal(after, shipped.float())
    assert not torch.equal(after, before)


def test_the_shipped_weights_are_small_and_say_how_good_they_are():
    assert vision.SHIPPED.with_suffix(".safetensors").stat().st_size < 1_000_000
    facts = json.loads(vision.SHIPPED.with_suffix(".json").read_text())
    assert facts["seed"] == 1000
    assert min(facts["auc"].values()) > 0.9


def test_another_shape_is_refused_with_the_remedy():
    with pytest.raises(UsageError, match="do not fit") as caught:
        vision.load_into(a_model(vision_width=32, heads=2))
    assert "vision=random" in str(caught.value)


def test_targets_are_the_cover_of_each_patch():
    pictures, targets, names = vision.draw_patches(6, seed=4)
    assert pictures.shape == (6, 96, 96)
    assert targets.shape == (6, len(names), 12, 12)
    heart = targets[:, names.index("heart")]
    assert (heart.max(axis=(1, 2)) > 0.9).all()
    findings = targets[:, len(vision.ORGANS) :].max(axis=(2, 3))
    assert set(findings.ravel().tolist()) == {0.0, 1.0}


def test_pretraining_is_reproducible_and_writes_its_card(tmp_path):
    for name in ("a", "b"):
        vision.pretrain(tmp_path / name, images=204, steps=2, seed=5)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert "2 steps of 32" in (tmp_path / "a.md").read_text()
    with pytest.raises(UsageError, match="too few pictures"):
        vision.pretrain(tmp_path / "c", images=10, steps=1)
