"""The command as a person runs it: exit codes, messages without tracebacks, and nothing heavy at start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from medclm import cli
from medclm.data import shards
from tests.data.helpers import linked_nodule, record


def run(capfd, monkeypatch, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of ``medclm ARGUMENTS``, in this process."""
    monkeypatch.setattr(sys, "argv", ["medclm", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capfd.readouterr()
    return int(stopped.value.code or 0), out, err


@pytest.fixture
def medclm(capfd, monkeypatch):
    return lambda *arguments: run(capfd, monkeypatch, *arguments)


@pytest.fixture
def dataset(tmp_path) -> str:
    shards.write_shard(str(tmp_path), 0, [record([linked_nodule()])], [])
    shards.write_manifest(str(tmp_path), {"reader_rejects": {"bad-box": 2}})
    return str(tmp_path)


def test_nothing_heavy_is_imported_before_a_command_runs():
    code = "import sys, medclm.cli; print([m for m in ('torch', 'ray', 'transformers', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_inspect_prints_json_for_machines(medclm, dataset):
    code, out, _ = medclm("data", "inspect", dataset, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["rows"], found["rejected"]) == (1, {"bad-box": 2})
    assert found["counts"]["findings"] == {"nodule": 1}
    assert len(found["content_hash"]) == 64


def test_formats_and_segmenters_are_listed(medclm):
    code, out, _ = medclm("data", "formats", "--json")
    known = json.loads(out)
    assert code == 0
    assert {"coco", "voc", "yolo", "csv", "dicom-seg", "vindr"} <= set(known["formats"])
    assert "unet:phantom" in known["segmenters"]
    assert max(map(len, medclm("data", "formats")[1].splitlines())) <= 80


def test_a_scan_finds_what_is_there_and_its_exit_code_says_so(medclm, dataset):
    code, out, _ = medclm("data", "scan", dataset, "--text", "p1", "--json")
    assert (code, {"file": "shards/shard-00000.parquet", "place": "patient_id", "text": "p1"} in json.loads(out)) == (
        1,
        True,
    )
    assert medclm("data", "scan", dataset, "--text", "Quimby")[0] == 0


def test_inspect_fits_80_columns(medclm, dataset):
    _, out, _ = medclm("data", "inspect", dataset)
    assert max(map(len, out.splitlines()[1:])) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("data", "inspect", "no-such-dir"), 2, "this is not a built dataset"),
        (("data", "inspectt", "x"), 2, "No such command"),
        (("sample", "phantom"), 2, "Missing option '--out'"),
        (("train", "--data", "no-such-dir", "--out", "o"), 2, "this is not a built dataset"),
        (("train", "--data", "d", "--out", "o", "optim.learning_rate=1"), 2, "did you mean 'optim.lr'?"),
        (("train", "--data", "d", "--out", "o", "--config", "none.yaml"), 2, "the configuration file does not exist"),
        (("data", "build", "--images", "i", "--out", "o"), 2, "configuration key 'annotations' is missing"),
        (("ask", "--model", "none", "--image", "i.png", "Why?"), 2, "the model directory does not exist"),
        (("serve", "--model", "none"), 2, "the model directory does not exist"),
        (("eval", "--model", "none", "--benchmark", "what:ever"), 2, "benchmark"),
        (("data", "export", "no-such-dir", "--to", "t", "--format", "llava"), 2, "this is not a built dataset"),
    ],
)
def test_bad_usage_ends_with_code_2_and_the_reason(medclm, arguments, code, message):
    found, _, err = medclm(*arguments)
    assert (found, message in err) == (code, True), err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(dataset, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["medclm", "--debug", "data", "inspect", "no-such-dir"])
    with pytest.raises(Exception, match="not a built dataset"):
        cli.main()


def test_an_unknown_segmenter_and_a_broken_annotation_file_are_named(medclm, tmp_path):
    (tmp_path / "a.json").write_text('{"images": [')
    common = ("data", "build", "--images", str(tmp_path), "--annotations", str(tmp_path / "a.json"), "--out", "o")
    code, _, err = medclm(*common, "--segmenter", "sam3")
    assert (code, "sam3" in err) == (2, True)
    code, _, err = medclm(*common, "--segmenter", "unet:phantom")
    assert code == 1
    assert "a.json" in err


def test_an_unexpected_error_says_how_to_see_more(medclm, dataset, monkeypatch):
    monkeypatch.setattr(shards, "read_manifest", lambda directory: {}["rows"])
    code, _, err = medclm("data", "inspect", dataset)
    assert code == 1
    assert "unexpected KeyError" in err
    assert "--debug" in err
