"""What a node says about itself, on the shared Ray and on made-up storage."""

from __future__ import annotations

import importlib.metadata
import platform

import psutil

from medclm import nodes


def test_a_node_reports_itself_and_writes_and_reads(ray_cluster, tmp_path):
    (report,) = nodes.survey(str(tmp_path))
    assert report.versions["python"] == platform.python_version()
    assert report.versions["torch"] == importlib.metadata.version("torch")
    assert (report.cpus, report.gpus, report.storage_fault) == (4, 0, "")
    assert report.memory_bytes == psutil.virtual_memory().total
    assert abs(report.skew_s) <= report.skew_error_s + 0.05, "the clock is this machine's own"
    assert list(tmp_path.iterdir()) == []


def test_storage_that_cannot_be_written_is_the_nodes_fault(ray_cluster, tmp_path):
    (tmp_path / "file").write_text("")
    (report,) = nodes.survey(str(tmp_path / "file"))
    assert report.storage_fault.startswith("cannot write: ")


def test_what_another_node_wrote_must_be_there_and_the_same(tmp_path):
    assert nodes.write_file(str(tmp_path), "a", b"1") == ""
    assert nodes.read_files(str(tmp_path), {"a": b"1"}) == ""
    assert nodes.read_files(str(tmp_path), {"a": b"2"}) == "a is not what was written"
    assert nodes.read_files(str(tmp_path), {"b": b"1"}).startswith("cannot read what another node wrote")
    nodes.remove_file(str(tmp_path), "a")
    nodes.remove_file(str(tmp_path), "a")
    assert not (tmp_path / "a").exists()


def test_the_quickest_question_tells_a_clock_best():
    answers = iter([100.0, "Timeout", 100.0])
    skew, error = nodes._skew(lambda: next(answers))
    assert error < 0.1
    assert skew < -1e9
    assert nodes._skew(lambda: "silent") == (0.0, 0.0)
