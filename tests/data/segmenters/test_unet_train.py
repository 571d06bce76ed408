"""Training of the small U-Net on bright squares whose side only their place tells, and its measuring."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data.images import decode_png
from medclm.data.segmenters import make_segmenter, picture_input
from medclm.data.segmenters.unet_fit import Recipe
from medclm.data.segmenters.unet_train import evaluate_unet, fold_indices, summary, train_unet
from medclm.errors import UsageError
from tests.data.segmenters.toy_dataset import stripe_dataset

SMALL = Recipe(steps=3, size_hw=(32, 32), channels=(4, 8, 8))


def test_training_learns_sides_by_position_and_writes_a_card(tmp_path):
    recipe = Recipe(steps=150, size_hw=(64, 64), channels=(8, 16, 16, 16))
    train, held_out = stripe_dataset(tmp_path / "train", 24, 0), stripe_dataset(tmp_path / "test", 8, 1)
    seen = []
    facts = train_unet(
        train, str(tmp_path / "net"), recipe, "cpu", held_out_dir=held_out, progress=lambda *a: seen.append(a)
    )
    assert facts.organs == ("left_lung", "right_lung")
    assert min(facts.dice.values()) > 0.8
    assert all(facts.worst[organ] <= facts.dice[organ] for organ in facts.organs)
    assert [step for step, _, _ in seen] == list(range(1, 151))
    assert seen[-1][2] < seen[0][2]
    card = (tmp_path / "net.md").read_text()
    assert "150 steps" in card
    assert f"| left_lung | {facts.dice['left_lung']:.3f} | {facts.worst['left_lung']:.3f} |" in card
    assert evaluate_unet(str(tmp_path / "net"), held_out, "cpu") == facts.dice
    left_picture = decode_png((tmp_path / "test" / "images" / "1.png").read_bytes())
    (organs,) = make_segmenter(f"unet:{tmp_path / 'net'}", "cpu")([picture_input(left_picture)])
    assert organs["left_lung"].sum() > 4 * organs.get("right_lung", np.zeros(1)).sum()


def test_cross_validation_trains_one_network_a_fold_and_then_the_last(tmp_path):
    seen = []
    data = stripe_dataset(tmp_path / "train", 6, 0)
    facts = train_unet(data, str(tmp_path / "net"), SMALL, "cpu", folds=3, progress=lambda *a: seen.append(a))
    assert len(seen) == 4 * SMALL.steps
    assert facts.training["folds"] == 3
    assert set(facts.dice) == set(facts.worst) == {"left_lung", "right_lung"}
    assert "--size 32 --seed 0 --folds 3" in (tmp_path / "net.md").read_text()
    alone = train_unet(data, str(tmp_path / "alone"), SMALL, "cpu")
    assert alone.sha256 == facts.sha256, "the folds do not touch the last network"


def test_equal_arguments_give_equal_weights(tmp_path):
    data = stripe_dataset(tmp_path / "train", 4, 0)
    recipes = [Recipe(**{**vars(SMALL), "seed": seed}) for seed in (7, 7, 8)]
    hashes = [train_unet(data, str(tmp_path / f"net{i}"), recipe, "cpu").sha256 for i, recipe in enumerate(recipes)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_every_picture_is_held_out_once_and_patients_stay_together():
    patients = ["a", "b", "a", "c", "d", "b", "e"]
    folds = fold_indices(patients, 3, seed=0)
    assert sorted(i for fold in folds for i in fold) == list(range(7))
    for patient in set(patients):
        assert sum(any(patients[i] == patient for i in fold) for fold in folds) == 1
    assert fold_indices(patients, 3, seed=0) == folds


@pytest.mark.parametrize("folds", [1, 6])
def test_folds_that_do_not_fit(folds):
    with pytest.raises(UsageError, match="2 to 5"):
        fold_indices(["a", "b", "a", "c", "d", "b", "e"], folds, seed=0)


def test_means_and_worst_leave_absent_organs_out():
    scores = np.array([[0.9, np.nan, np.nan], [0.5, 0.8, np.nan]])
    found = summary(("heart", "liver", "spleen"), scores)
    assert found == {"dice": {"heart": 0.7, "liver": 0.8}, "worst": {"heart": 0.5, "liver": 0.8}}
