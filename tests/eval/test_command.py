"""``medclm eval`` and ``medclm compare`` as they are typed."""

import json

import pytest
from typer.testing import CliRunner

from medclm.cli import app


@pytest.fixture
def answers(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"id": "im10:is-there", "answer": "yes"}\n{"id": "im12:is-there", "answer": "yes"}')
    return file


def test_eval_then_compare(dataset, answers, tmp_path):
    run = CliRunner().invoke
    one = ["eval", "--model", str(answers), "--benchmark", f"medclm:{dataset}", "--out", str(tmp_path / "a")]
    shown = run(app, one, catch_exceptions=False)
    assert "majority control" in shown.output
    assert "could not be asked 12" in shown.output
    told = run(app, [*one[:-1], str(tmp_path / "b"), "--controls", "none", "--json"], catch_exceptions=False)
    result = json.loads(told.stdout)
    assert result["controls"] == []
    assert result["summary"]["medclm"]["accuracy"] == 0.5
    both = run(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"], catch_exceptions=False)
    assert json.loads(both.stdout)["benchmarks"]["medclm"]["parts"]["all"]["lead"]["value"] == 0.0


def test_an_unknown_control_is_named(dataset, answers):
    found = CliRunner().invoke(
        app, ["eval", "--model", str(answers), "--benchmark", f"medclm:{dataset}", "--controls", "blank,nothing"]
    )
    assert "unknown control" in str(found.exception)
