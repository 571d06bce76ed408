"""A build on several Ray nodes, in a process and on a cluster of its own: bench/cluster.py, small.

Training and serving with a node killed under them take a minute and a half more: `make bench-cluster` runs them too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> dict:
    """What `bench/cluster.py --quick --only data` found."""
    out = tmp_path_factory.mktemp("nodes") / "found.json"
    command = [sys.executable, str(ROOT / "bench" / "cluster.py"), "--quick", "--only", "data", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


def test_stages_run_where_their_resources_are(nodes):
    found = nodes["placement"]
    assert found["nodes"]["Segment"] == ["gpu-1"]
    assert set(found["nodes"]["decode"]) <= {"cpu-1", "cpu-2", "cpu-3", "cpu-4"}
    assert len(found["nodes"]["decode"]) > 1
    assert found["nodes"]["Annotate"][0].startswith("cpu-")
    assert found["rows"] == 24


def test_a_build_outlives_a_cpu_node_and_the_gpu_node(nodes):
    found = nodes["data_kill"]
    assert found["killed"] == ["cpu-3", "gpu-1"]
    assert (found["rows"], found["rejected"], found["same_content"]) == (24, {}, True)


def test_a_full_object_store_spills_and_nothing_is_lost(nodes):
    found = nodes["spill"]
    assert found["spilled_bytes"] >= found["held_bytes"] - found["store_bytes"]
    assert found["intact"]
    assert found["same_content"]
