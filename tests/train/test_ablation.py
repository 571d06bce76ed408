from pathlib import Path

import pytest

from medclm import config as configs
from medclm.config import AblationConfig
from medclm.errors import UsageError
from medclm.train import ablation

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config():
    return configs.load(AblationConfig, ROOT / "cluster/configs/ablation.yaml")


def test_the_shipped_ablation_has_the_arms_of_the_literature(config):
    ablation.check(config)
    assert len(config.seeds) >= 3
    assert {name for name, arm in config.arms.items() if arm.flat} == {"hard-only", "cot-only", "uniform-no-loc"}
    for name in config.arms:
        for seed in config.seeds:
            run = ablation.arm_config(config, name, seed)
            assert (run.seed, run.steps, run.batch_size) == (seed, config.train.steps, config.train.batch_size)
    assert ablation.arm_config(config, "no-loc", 0).loss.localization == 0
    assert ablation.arm_config(config, "reversed", 0).schedule.name == "reversed"


def test_an_arm_that_does_not_exist(config):
    with pytest.raises(UsageError, match="no such arm"):
        ablation.check(config.model_copy(update={"reference": "nothing"}))


def test_there_is_at_least_one_seed(config):
    with pytest.raises(ValueError, match="seeds"):
        AblationConfig.model_validate({**config.model_dump(), "seeds": []})


def test_the_test_set_is_a_new_one(config):
    with pytest.raises(UsageError, match="those of the training"):
        ablation.check(config.model_copy(update={"test": config.data}))


def test_the_table_holds_the_reference_against_the_best_flat_arm(config):
    def run(right):
        return [(f"q{n}", f"image-{n // 2}", float(n < right)) for n in range(40)]

    runs = {
        "curriculum": {0: run(30), 1: run(32)},
        "hard-only": {0: run(12), 1: run(12)},
        "cot-only": {0: run(14), 1: run(16)},
    }
    arms = {name: config.arms[name] for name in runs}
    document = ablation.table(runs, config.model_copy(update={"arms": arms, "seeds": (0, 1)}))
    assert document["verdict"]["best_flat"] == "cot-only"
    assert document["verdict"]["lead"]["value"] == pytest.approx(31 / 40 - 15 / 40)
    assert [row["accuracy"]["value"] for row in document["arms"]] == pytest.approx([31 / 40, 12 / 40, 15 / 40])
    text = ablation.markdown(document)
    assert "| curriculum: three stages, competence schedule, L_loc | 77.5 (" in text
    assert "| 75.0, 80.0 | reference |" in text


def test_the_oracle_sees_the_boxes_that_the_others_do_not(squares, tmp_path):
    import numpy as np

    from medclm.data.shards import read_records
    from medclm.train.views import pixels

    ablation.draw_boxes(squares, str(tmp_path / "drawn"))
    before, after = list(read_records(squares)), list(read_records(str(tmp_path / "drawn")))
    assert [r.image_id for r in before] == [r.image_id for r in after]
    for one, two in zip(before[:3], after[:3], strict=True):
        changed = np.any(pixels(one.image) != pixels(two.image), axis=2)
        assert changed.any()
        x1, y1, x2, y2 = (int(v) for v in one.findings[0].box_xyxy)
        assert not changed[y1:y2, x1:x2].any()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_arms_are_trained_and_asked_and_a_table_comes_with_each(ray_cluster, tmp_path):
    tiny = {"text_layers": 2, "vision_layers": 1, "image_size": 48, "vision": "random"}
    settings = AblationConfig.model_validate(
        {
            "train": {"model": {"base": "tiny", "tiny": tiny}, "steps": 2, "batch_size": 2, "evaluate_limit": 2},
            "data": {"count": 12, "size": 64},
            "test": {"count": 6, "size": 64, "seed": 7},
            "question_types": ["side", "what"],
            "eval_questions": 5,
            "seeds": [0],
            "arms": {
                "curriculum": {},
                "hard-only": {"train": {"schedule.name": "hard-only"}, "mode": "answer", "flat": True},
                "answers": {"model_of": "curriculum", "mode": "answer"},
            },
        }
    )
    tables = []

    def look(done: int, total: int) -> None:
        tables.append((done, total, (tmp_path / "ablation.json").is_file()))

    document = ablation.ablate(tmp_path, settings, look)
    assert tables == [(1, 3, False), (2, 3, True), (3, 3, True)]
    assert [(row["name"], row["accuracy"]["n"]) for row in document["arms"]] == [
        ("curriculum", 5), ("hard-only", 5), ("answers", 5),
    ]  # fmt: skip
    assert (tmp_path / "report.md").read_text().count("\n") == 5
    before = (tmp_path / "runs" / "curriculum-0" / "answers.json").stat().st_mtime_ns
    assert ablation.ablate(tmp_path, settings) == document
    assert (tmp_path / "runs" / "curriculum-0" / "answers.json").stat().st_mtime_ns == before
