import json

import pytest

from medclm.config import EvalConfig
from medclm.errors import UsageError
from medclm.eval.compare import compare_runs, print_comparison, write_comparison
from medclm.eval.run import evaluate
from tests.hand_dataset import make_record, write_dataset


@pytest.fixture
def runs(dataset, rule_predictor, tmp_path):
    """(a run that is always right, one whose sides are wrong, the same without an answer for one question)"""
    first = tmp_path / "first"
    evaluate("rule", [f"medclm:{dataset}"], first, EvalConfig(controls=False), predictor=rule_predictor)
    lines = [
        {"id": f"im{n}:{kind}", "answer": answer}
        for n, nodule in ((10, True), (11, True), (12, False), (13, False))
        for kind, answer in (
            ("is-there", "yes" if nodule else "no"),
            ("how-many", "1" if nodule else "0"),
            ("what", "nodule" if nodule else "no abnormality"),
            *([("side", "middle")] if nodule else []),
        )
    ][:-1]
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    second = tmp_path / "second"
    evaluate(tmp_path / "p.jsonl", [f"medclm:{dataset}"], second, EvalConfig(controls=False))
    return first, second


def test_leads_by_hand(runs, tmp_path, capsys):
    found = compare_runs(*runs)["benchmarks"]["medclm"]
    every = found["parts"]["all"]
    # 13 of 14 have an answer in both; two sides are lost, one in each of two images
    assert (every["lead"]["n"], every["won"], every["lost"], found["unpaired"]) == (13, 0, 2, 1)
    assert every["lead"]["value"] == pytest.approx(-2 / 13)
    assert every["p_value"] == 2 / 4
    assert found["by_type"]["side"]["second"]["value"] == 0.0
    assert found["by_type"]["what"]["lead"]["value"] == 0.0
    assert found["by_modality"]["CR"]["lead"]["n"] == 13
    assert [example["second"] for example in found["lost"]] == ["middle", "middle"]
    result = compare_runs(*runs)
    write_comparison(tmp_path / "c", result)
    assert json.loads((tmp_path / "c" / "compare.json").read_text()) == result
    assert "-15.4" in (tmp_path / "c" / "compare.html").read_text()
    print_comparison(result, tmp_path / "c")
    assert "-15.4" in capsys.readouterr().out


def test_other_definitions_stay_apart(runs):
    found = compare_runs(*runs, scorer="llava-med")["benchmarks"]["medclm"]
    assert list(found["parts"]) == ["open", "closed"]
    assert found["by_type"] == {}


def test_runs_that_cannot_be_compared(runs, rule_predictor, tmp_path):
    with pytest.raises(UsageError, match="no evaluation"):
        compare_runs(runs[0], tmp_path / "nowhere")
    with pytest.raises(UsageError, match="unknown scorer"):
        compare_runs(*runs, scorer="bleu")
    other = write_dataset(tmp_path / "d", [make_record(12, "test", True)])
    evaluate("rule", [f"medclm:{other}"], tmp_path / "third", EvalConfig(controls=False), predictor=rule_predictor)
    with pytest.raises(UsageError, match="differ in the reference"):
        compare_runs(runs[0], tmp_path / "third")
