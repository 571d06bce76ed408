"""Best against untuned, from answers made by hand."""

from __future__ import annotations

from medclm.config import TrainConfig
from medclm.train.tuning.compare import compare, verdict


def answers(right: set[int], images: int = 40) -> dict[str, tuple[str, bool]]:
    """Two questions an image; those of the images in ``right`` are answered rightly."""
    return {f"{n}:{q}": (f"im{n:02d}", n in right) for n in range(images) for q in range(2)}


def test_a_clear_gain():
    found = verdict([answers(set(range(10)))], [answers(set(range(30)))], [1])
    assert (found["untuned"]["value"], found["found"]["value"], found["difference"]["value"]) == (0.25, 0.75, 0.5)
    assert found["difference"]["n"] == 80
    assert found["difference"]["clusters"] == 40
    assert found["difference"]["low"] > 0.3
    assert found["clear"]
    assert found["p_value"] < 0.01
    assert found["by_seed"] == [[0.25, 0.75]]


def test_gain_on_some_loss_on_others_is_not_clear():
    found = verdict([answers(set(range(20)))], [answers(set(range(10, 31)))], [1])
    assert found["difference"]["value"] == 0.025
    assert found["difference"]["low"] < 0 < found["difference"]["high"]
    assert not found["clear"]


def test_a_question_counts_once_with_its_mean_over_the_seeds():
    found = verdict([answers(set()), answers(set())], [answers(set(range(40))), answers(set())], [1, 2])
    assert found["difference"] == {"value": 0.5, "low": 0.5, "high": 0.5, "n": 80, "clusters": 40}
    assert found["by_seed"] == [[0.0, 1.0], [0.0, 0.0]]


def test_untuned_values_that_were_the_best_are_not_trained_twice(tmp_path):
    found = compare("no-dataset", tmp_path, TrainConfig(), TrainConfig(), (1,), 10)
    assert found == {"same": True, "seeds": [1]}
    assert list(tmp_path.iterdir()) == []
