"""What nodes that do not fit together are told, and how their reports travel."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from medclm import doctor, doctor_nodes
from medclm.errors import MedclmError
from medclm.nodes import NodeReport

GIB = 2**30
GOOD = NodeReport(
    node_id="a" * 56, host="head 10.0.0.1", versions={"python": "3.11.9", "ray": "2.60.0", "torch": "2.14.1"},
    cpus=8, gpus=2, gpu_names=["H100", "H100"], memory_bytes=100 * GIB, shared_memory_bytes=30 * GIB,
    skew_s=0.01, skew_error_s=0.002,
)  # fmt: skip


def judged(**changes) -> dict[str, doctor.Check]:
    """The checks of a good head and a second node with ``changes``."""
    second = replace(GOOD, node_id="b" * 56, host="second 10.0.0.2", **changes)
    return {check.name: check for check in doctor_nodes.judge([GOOD, second], "s3://bucket")}


def test_equal_nodes_are_well():
    checks = judged()
    assert {check.status for check in checks.values()} == {"ok"}
    assert checks["nodes"].detail == "2, 16 CPUs and 4 GPUs declared"
    assert checks["node versions"].detail == "python 3.11.9, ray 2.60.0, torch 2.14.1"


@pytest.mark.parametrize(
    ("changes", "name", "status", "detail"),
    [
        ({"versions": {**GOOD.versions, "torch": "2.13.0"}}, "node versions", "fail", "torch 2.13.0 (not 2.14.1)"),
        ({"versions": {"python": "3.11.9", "ray": "2.60.0"}}, "node versions", "fail", "torch none (not 2.14.1)"),
        ({"gpu_names": ["H100"]}, "node gpus", "fail", "declares 2, the driver sees 1"),
        ({"skew_s": -3.0}, "node clocks", "warn", "-3.0 s"),
        ({"shared_memory_bytes": 29 * GIB}, "node /dev/shm", "warn", "29.0 GiB of 100.0 GiB memory, 30% wanted"),
        ({"storage_fault": "cannot write: no"}, "node storage", "fail", "cannot write: no"),
        ({"versions": {}, "storage_fault": "GetTimeoutError: x"}, "node answers", "fail", "GetTimeoutError: x"),
    ],
)
def test_faults_name_the_node(changes, name, status, detail):
    checks = judged(**changes)
    assert checks[name].status == status
    assert checks[name].detail.startswith("second 10.0.0.2")
    assert checks[name].detail.endswith(detail)
    assert checks[name].remedy
    assert [check.name for check in checks.values() if check.status != "ok"] == [name]


def test_a_question_that_took_long_does_not_make_a_clock_wrong():
    assert judged(skew_s=1.5, skew_error_s=0.6)["node clocks"].status == "ok"


def test_reports_are_found_in_a_log():
    document = doctor.as_json(doctor.Diagnosis([], [GOOD]))
    assert doctor_nodes.parse("INFO joined {it}\n" + json.dumps(document, indent=2) + "\n") == [GOOD]
    with pytest.raises(MedclmError, match="something else"):
        doctor_nodes.parse("Traceback\n")


def test_the_table_has_80_columns(capsys):
    doctor_nodes.render([GOOD, replace(GOOD, host="a-very-long-name-of-a-machine 10.10.10.10", versions={})])
    text = capsys.readouterr().out
    assert {len(line) for line in text.splitlines()} == {80}
    assert "+0.01 s" in text
    assert "30 G" in text
