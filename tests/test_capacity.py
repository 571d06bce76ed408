"""Memory arithmetic, by hand and against the run configurations that ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medclm import capacity, config
from medclm.errors import UsageError

CONFIGS = Path(__file__).resolve().parent.parent / "cluster" / "configs"
BASE = "Qwen/Qwen3-VL-2B-Instruct"


def run(**more) -> config.TrainConfig:
    model = {"base": BASE, "finetune": "full"}
    return config.TrainConfig.model_validate({"model": model, "batch_size": 16, "workers": 8, "accumulate": 2, **more})


def test_terms_by_hand():
    """Eight workers, one example of 1,000 tokens each at a time; 28 layers 2,048 wide."""
    parts = capacity.gpu_bytes(run(), tokens=1000)
    assert parts["weights"] == 4 * 2_127_532_032 / 8
    assert parts["gradients"] == parts["weights"]
    assert parts["optimizer"] == 2 * parts["weights"]
    assert parts["gathered"] == 2 * (2 * 50_336_000 + 2 * 151_936 * 2048)
    assert parts["activations"] == 1000 * 34 * 2048 * 28
    assert parts["logits"] == 1000 * 151_936 * 10
    assert parts["total"] == pytest.approx(sum(v for k, v in parts.items() if k != "total"))


def test_what_each_setting_saves():
    whole = capacity.gpu_bytes(run())
    recomputed = capacity.gpu_bytes(run(parallel={"checkpoint_activations": True}))
    assert recomputed["activations"] == 1024 * 2048 * (2 * 28 + 34)
    assert capacity.gpu_bytes(run(parallel={"reshard": "never"}))["gathered"] == 2 * 2_127_532_032
    assert capacity.gpu_bytes(run(parallel={"cpu_offload": True}))["optimizer"] == 0
    lora = capacity.gpu_bytes(run(model={"base": BASE, "finetune": "lora", "lora_rank": 16}))
    assert lora["weights"] == whole["weights"]
    assert lora["gradients"] == 4 * 16 * 21 * 2048 * 28 / 8


def test_recomputing_costs_a_third_more_and_lora_a_third_less():
    shape = capacity.SHAPES[BASE]
    full = capacity.step_flops(shape, run())
    assert full == 6 * shape.parameters * 1024 * 16
    assert capacity.step_flops(shape, run(parallel={"checkpoint_activations": True})) == full * 8 / 6
    assert capacity.step_flops(shape, run(model={"base": BASE, "finetune": "lora"})) == full * 4 / 6


def test_an_unknown_base_is_refused():
    with pytest.raises(UsageError, match="not known"):
        capacity.gpu_bytes(run(model={"base": "tiny"}))


@pytest.mark.parametrize(
    "path", [p for p in sorted(CONFIGS.glob("*.yaml")) if "# GPU: " in p.read_text()], ids=lambda p: p.stem
)
def test_run_configurations_fit_the_gpu_that_their_comment_names(path):
    """The comment's ``memory:`` line is what the function says, and less than the ``GPU:`` that it names."""
    text = path.read_text()
    loaded = config.load(config.TrainConfig, path)
    card = int(re.search(r"^# GPU: .*?(\d+) GB", text, re.MULTILINE)[1])
    said = float(re.search(r"= ([\d.]+) GiB a GPU", text)[1])
    total = capacity.gpu_bytes(loaded)["total"] / capacity.GIB
    assert said == pytest.approx(total, abs=0.1)
    assert total < 0.93 * card * 1e9 / capacity.GIB
    gpus = int(re.search(r"^# GPU: (\d+) ×", text, re.MULTILINE)[1])
    assert gpus == loaded.workers


def test_32b_does_not_train_on_one_workstation_card():
    small = run(model={"base": "Qwen/Qwen3-VL-32B-Instruct", "finetune": "lora"}, workers=1, accumulate=16)
    assert capacity.gpu_bytes(small)["weights"] > 80e9
