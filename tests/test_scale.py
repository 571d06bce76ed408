"""docs/scale.md is what bench/scale.py makes of its measured figures, and the arithmetic is right."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("bench_scale", ROOT / "bench" / "scale.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_holds_the_tables(scale):
    text = (ROOT / "docs" / "scale.md").read_text()
    for name, table in scale.tables(json.loads((ROOT / "bench" / "scale.json").read_text())).items():
        assert f"<!-- {name} -->\n{table}\n<!-- end -->" in text, f"{name}: run `make bench-scale`"


def test_build_by_hand(scale):
    """10 ms x 2 on 24 cores a GPU; 200 images/s a GPU; 100 us of driver; 1 MB in and out at 5 GB/s a node."""
    measured = {"image_cpu_s": {"decode": 0.006, "segment": 9.0, "annotate": 0.004}, "ray_factor": 2.0,
                "driver_s_a_row": 1e-4, "image_bytes": 6e5, "row_bytes": 4e5}  # fmt: skip
    parts = scale.build_seconds(measured, 1e6, 16)
    assert parts == pytest.approx({"CPUs": 2e4 / 384, "segmenter": 312.5, "driver": 100.0, "storage": 100.0})


def test_training_by_hand(scale):
    """4 M examples of 1,024 tokens; 16 GPUs at 0.4 of 989 TFLOP/s; 31,250 micro-batches that move 8 bytes a weight."""
    weights = 2_127_532_032
    parts = scale.train_seconds({"example_cpu_s": 0.0048, "row_bytes": 1e5}, "Qwen/Qwen3-VL-2B-Instruct", 1e6, 16)
    assert parts["compute"] == pytest.approx(8 * weights * 4e6 * 1024 / (16 * 0.4 * 989e12))
    assert parts["network"] == pytest.approx(31_250 * 8 * weights / 50e9)
    assert parts["CPUs"] == pytest.approx(4e6 * 0.0048 / 384)
    assert scale.train_seconds({"example_cpu_s": 0, "row_bytes": 0}, "Qwen/Qwen3-VL-2B-Instruct", 1, 8)["network"] == 0


def test_the_check_is_measured_over_predicted(scale):
    check = {"share": 0.5, "cpu_s_per_image": {"decode": 0.02, "segment": 0.005}, "rates": {"1": 10.0, "2": 16.0}}
    assert scale.ray_factor(check) == 2.0
    assert scale._check({"check": check, "ray_factor": 2.0}).splitlines()[-1] == "| 2 | 20.0 | 16.0 | +25% |"
