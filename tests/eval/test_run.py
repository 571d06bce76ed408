"""The whole evaluation on a hand-made dataset, with a predictor that follows a rule: every number by hand."""

import json

import pyarrow.parquet as pq
import pytest

from medclm.config import EvalConfig
from medclm.data.readers.vqa_layouts import in_vqa_rad_held_out
from medclm.data.records import Image
from medclm.errors import UsageError
from medclm.eval.rows import SCHEMA
from medclm.eval.run import evaluate
from tests.hand_dataset import make_record, write_dataset


def test_every_number(dataset, rule_predictor, tmp_path):
    calls = []
    result = evaluate(
        "rule",
        [f"medclm:{dataset}"],
        tmp_path,
        EvalConfig(batch_size=4),
        predictor=rule_predictor,
        progress=lambda done, total, what: calls.append((done, total, what)),
    )
    found = result["benchmarks"]["medclm"]
    assert (found["questions"], found["images"], found["patients"]) == (14, 4, 4)
    assert found["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 14, "clusters": 4}
    assert {kind: values["n"] for kind, values in found["by_type"].items()} == {
        "how-many": 4, "is-there": 4, "side": 2, "what": 4,
    }  # fmt: skip
    # training: 4 of 6 images have a nodule, so the majority answers are yes, 1, nodule; side is 2 : 2, so "left"
    # test: 2 of 4 have one, im10 left and im11 right: 2 + 2 + 2 + 1 of 14
    controls = found["controls"]
    assert controls["majority"]["accuracy"]["value"] == pytest.approx(7 / 14)
    # blank: no bright pixels: no, zero, no abnormality, right: 2 + 2 + 2 + 1 of 14
    assert controls["blank"]["accuracy"]["value"] == pytest.approx(7 / 14)
    assert controls["blank"]["lead"]["value"] == pytest.approx(7 / 14)
    # leads by image: 3 + 1 (left is not right), 3, 0, 0: both signs of two images, |sum| = 7 for 2 of 4
    assert controls["blank"]["p_value"] == 2 / 4
    assert controls["shuffled"]["accuracy"]["value"] < 1
    # two images with a nodule, 4 questions each, all boxes exact
    grounding = found["grounding"]
    assert (grounding["questions"], grounding["mean_iou"]["value"], grounding["pointing"]["value"]) == (8, 1.0, 1.0)
    assert found["open"]["recall"]["value"] == 1.0
    # "a nodule" and "one" are not string-equal to "nodule" and "1", "zero" not to "0": is-there 4, side 2, normal 2
    assert found["published"]["exact"]["all"]["value"] == pytest.approx(8 / 14)
    # A on closed: is-there 4 of 4, side "left", "right" have no "yes" or "no"
    assert found["published"]["llava-med"]["closed"]["value"] == pytest.approx(4 / 6)
    assert found["published"]["llava-med-batch"]["closed"]["value"] == 1.0
    assert found["published"]["closed-mc"]["closed"]["n"] == 6
    assert result["summary"]["medclm"]["majority_accuracy"] == pytest.approx(0.5)
    # 14 questions, 14 about another image; the blank control asks each of 4 distinct questions once; 8 questions have
    # boxes, and are asked with them hidden and with another place hidden
    asks = result["asks"]
    assert (asks["asked"] + asks["shared"], asks["kept"]) == (14 + 14 + 14 + 8 + 8, 0)
    assert asks["shared"] >= 10
    assert calls[-1] == (asks["asked"], asks["asked"], "questions and controls")
    assert sum(rule_predictor.batches) == asks["asked"]
    assert max(rule_predictor.batches) == 4
    # without its nodule an image gets the answers of a blank one: all 4 of each image change, but for the side of im11,
    # right as on a blank image; with another place hidden none does
    change = found["faithfulness"]["change"]
    assert (change["masked"]["value"], change["elsewhere"]["value"]) == (7 / 8, 0.0)
    assert change["p_value"] == 2 / 4
    assert any("no text_only control" in note for note in found["notes"])


def test_files(dataset, rule_predictor, tmp_path):
    result = evaluate("rule", [f"medclm:{dataset}"], tmp_path, predictor=rule_predictor)
    assert json.loads((tmp_path / "eval.json").read_text()) == result
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.schema.equals(SCHEMA)
    rows = {row["id"]: row for row in table.to_pylist()}
    assert len(rows) == 14
    assert rows["im10:side"]["predicted_boxes"] == rows["im10:side"]["reference_boxes"] == [[80.0, 50.0, 100.0, 70.0]]
    assert rows["im12:what"]["iou"] is None
    page = (tmp_path / "report.html").read_text()
    assert "not a medical device" in page
    assert "data:image/png;base64," in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert "There is a nodule." in page


def test_predictions_file_gives_the_same_scores(dataset, rule_predictor, tmp_path):
    first = evaluate("rule", [f"medclm:{dataset}"], tmp_path / "a", predictor=rule_predictor)
    again = evaluate(tmp_path / "a" / "predictions.parquet", [f"medclm:{dataset}"], tmp_path / "b")
    one, two = (result["benchmarks"]["medclm"] for result in (first, again))
    for key in ("accuracy", "by_type", "published", "grounding"):
        assert one[key] == two[key]
    assert list(two["controls"]) == ["majority"]
    assert any("answers come from a file" in note for note in two["notes"])


def test_predictions_file_in_json_lines_with_holes(dataset, tmp_path):
    lines = [
        {"id": "im10:is-there", "text": "Reasoning:\nAnswer: yes"},
        {"id": "im10:side", "text": "right"},
        {"id": "im10:what", "answer": ""},
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    found = evaluate(tmp_path / "p.jsonl", [f"medclm:{dataset}"], tmp_path, EvalConfig(controls=False))["benchmarks"][
        "medclm"
    ]
    assert found["accuracy"]["value"] == pytest.approx(1 / 3)
    assert found["excluded"]["by_reason"] == {"no-prediction": 11}
    assert found["parse_failures"]["count"] == 1
    assert found["parse_failures"]["accuracy_of_parsed"]["value"] == 1 / 2
    assert "im10:what" in (tmp_path / "report.html").read_text()


def test_broken_picture_is_counted_and_explained(rule_predictor, tmp_path):
    good, bad = make_record(20, "test", True), make_record(21, "test", True)
    cut = Image(bytes=bad.image.bytes[:60], format="png", width=128, height=128)
    folder = write_dataset(tmp_path / "d", [good, bad.model_copy(update={"image": cut})])
    found = evaluate("rule", [f"medclm:{folder}"], tmp_path / "o", predictor=rule_predictor)["benchmarks"]["medclm"]
    assert found["excluded"]["by_reason"] == {"broken-image": 4}
    assert "cut off" in found["excluded"]["examples"][0]["reason"]
    assert (found["accuracy"]["value"], found["accuracy"]["n"]) == (1.0, 4)
    assert any("no majority control" in note for note in found["notes"])
    assert "4 of 4 questions have no answer to the shuffled control" in found["notes"]


def test_unreadable_answer_is_wrong_but_said(dataset, rule_predictor, tmp_path):
    answer = rule_predictor.answer

    def mumble(request):
        import dataclasses

        found = answer(request)
        silent = request.question == "On which side?"
        return dataclasses.replace(found, text="Reasoning:\nmm", answer="", parsed=False) if silent else found

    rule_predictor.answer = mumble
    found = evaluate("rule", [f"medclm:{dataset}"], tmp_path, predictor=rule_predictor)["benchmarks"]["medclm"]
    assert found["parse_failures"]["count"] == 2
    assert found["accuracy"]["value"] == pytest.approx(12 / 14)
    assert found["parse_failures"]["accuracy_of_parsed"]["value"] == 1.0
    assert "no answer could be read" in found["parse_failures"]["examples"][0]["reason"]
    assert "Examples: no answer" in (tmp_path / "report.html").read_text()


def test_vqa_rad_with_a_missing_picture(vqa_rad, rule_predictor, tmp_path):
    names = [name for name in (f"n{i}.jpg" for i in range(100)) if in_vqa_rad_held_out(name)][:2]
    rows = [
        {"qid": n, "image_name": name, "question": "Is there a nodule?", "answer": "No", "answer_type": "CLOSED "}
        for n, name in enumerate(names)
    ]
    folder = vqa_rad(rows, missing=(names[1],))
    found = evaluate("rule", [f"vqa-rad:{folder}"], tmp_path / "o", predictor=rule_predictor)["benchmarks"]["vqa-rad"]
    assert (found["accuracy"]["value"], found["accuracy"]["n"]) == (1.0, 1)
    assert "is missing" in found["excluded"]["examples"][0]["reason"]
    assert found["grounding"]["questions"] == 0


def test_two_benchmarks_stand_apart(dataset, rule_predictor, tmp_path):
    other = write_dataset(tmp_path / "other", [make_record(n, "test", False) for n in (30, 31)])
    result = evaluate("rule", [f"medclm:{dataset}", f"medclm:{other}"], tmp_path / "o", predictor=rule_predictor)
    assert list(result["summary"]) == ["medclm", "medclm (other)"]
    assert result["summary"]["medclm (other)"]["questions"] == 6


def test_bad_usage(dataset, rule_predictor, tmp_path):
    with pytest.raises(UsageError, match="control"):
        evaluate("rule", [f"medclm:{dataset}"], tmp_path, EvalConfig(controls=["text"]), predictor=rule_predictor)
    with pytest.raises(UsageError, match="no benchmark"):
        evaluate("rule", [], tmp_path, predictor=rule_predictor)
    with pytest.raises(UsageError, match="same"):
        evaluate("rule", [f"medclm:{dataset}"] * 3, tmp_path, predictor=rule_predictor)
    with pytest.raises(UsageError, match="does not exist"):
        evaluate(tmp_path / "none.parquet", [f"medclm:{dataset}"], tmp_path)
    with pytest.raises(UsageError):
        evaluate(tmp_path / "no-model", [f"medclm:{dataset}"], tmp_path)
