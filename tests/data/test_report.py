"""The dataset report on rows made by hand; every count worked out by hand."""

import json

import pytest

from medclm.data.rejects import Reject
from medclm.data.report import build_report
from medclm.errors import UsageError
from tests.hand_dataset import make_record, write_dataset


def checks(report: dict) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in report["checks"]}


def test_counts(tmp_path):
    # train: images 0 to 3 with a nodule (0, 2 left; 1, 3 right), 4 and 5 without; test: 10 with (left), 11 without
    records = [make_record(n, "train", n < 4) for n in range(6)]
    records += [make_record(10, "test", True), make_record(11, "test", False)]
    reasons = ("box-outside", "missing-image", "box-outside")
    rejects = [Reject(image_id="x", where="a.json", reason=reason, detail="too far out") for reason in reasons]
    report = build_report(write_dataset(tmp_path, records, rejects))
    assert report["splits"] == {
        "train": {"images": 6, "patients": 6, "findings": 4, "questions": 4 * 4 + 2 * 3},
        "test": {"images": 2, "patients": 2, "findings": 1, "questions": 4 + 3},
    }
    assert report["images"] == {
        "with_boxes": 5, "labels_without_place": 0, "without_finding": 3, "with_prior": 0, "by_modality": {"CR": 8},
    }  # fmt: skip
    assert report["findings"]["by_label"] == {"nodule": 5}
    assert report["findings"]["by_organ"] == {"left_lung": 3, "right_lung": 2}
    assert report["findings"]["by_side"] == {"left": 3, "right": 2}
    assert report["findings"]["unclear"] == {"count": 0, "share": 0.0}
    # 20 x 20 of 128 x 128 pixels is 2.44 %
    assert {name: n for name, n in report["findings"]["by_area"].items() if n} == {"2 – 10 %": 5}
    assert report["questions"]["how-many"] == {
        "count": 8, "distinct_answers": 2, "answers": {"1": 5, "0": 3}, "difficulty": {"1": 8},
    }  # fmt: skip
    assert report["difficulty"] == {"1": 29}
    assert report["choices"] == {"0": 16, "2": 13}
    assert report["generators"] == {"template": 29}
    assert report["balance"]["label"] == {"classes": 1, "largest_share": 1.0, "evenness": 0.0}
    assert report["segmenters"] == {"none": {"images": 8, "organs": 0}}
    assert report["yes_no"] == {"yes": 5, "no": 3, "no_share": 3 / 8}
    assert report["rejected"] == {"box-outside": 2, "missing-image": 1}
    assert report["rejected_examples"]["missing-image"] == [{"image_id": "x", "detail": "too far out"}]
    # majority of train: yes, 1, nodule, left (2 : 2, first in the alphabet); of test 1 of 2, 1 of 2, 1 of 2, 1 of 1
    blind = report["blind_accuracy"]
    assert (blind["accuracy"], blind["n"], blind["in_sample"]) == (4 / 7, 7, False)
    what = blind["by_type"]["what"]
    assert (what["answer"], what["n"], what["accuracy"]) == ("nodule", 2, 0.5)
    assert (blind["text_only"]["majority_accuracy"], blind["text_only"]["n"]) == (4 / 7, 7)
    assert checks(report) == {
        "no patient in two splits": True,
        "no picture in two splits": True,
        "no look-alike of a picture in another split": True,
        "40% to 75% of yes/no answers are no": False,
        "at most 10% of findings without a clear organ": True,
        "every label is in the vocabulary": True,
        "an answer without looking is mostly wrong": False,
        "the wording gives away at most 10%": True,
    }


def test_leak_and_duplicates_are_found(tmp_path):
    one = make_record(1, "train", True, patient="anna")
    two = make_record(2, "test", True, patient="anna")
    twin = make_record(2, "train", True, patient="bert").model_copy(update={"image_id": "twin"})
    report = build_report(write_dataset(tmp_path, [one, two, twin]))
    assert report["patients_in_several_splits"] == {"count": 1, "examples": ["anna"]}
    assert report["duplicates"] == {
        "groups": 1, "images": 2, "groups_across_patients": 1, "groups_across_splits": 1,
        "examples": [["im02", "twin"]],
    }  # fmt: skip
    assert checks(report)["no patient in two splits"] is False
    assert checks(report)["no picture in two splits"] is False


def test_unclear_findings_are_counted(tmp_path):
    record = make_record(1, "train", True)
    lost = record.findings[0].model_copy(update={"organ": "unclear", "side": None})
    report = build_report(write_dataset(tmp_path, [record.model_copy(update={"findings": (lost,)})]))
    assert report["findings"]["unclear"] == {"count": 1, "share": 1.0}
    assert checks(report)["at most 10% of findings without a clear organ"] is False
    assert report["blind_accuracy"]["in_sample"] is True


def test_labels_of_images_and_labels_that_nobody_knows(tmp_path):
    record = make_record(1, "train", True)
    strange = record.findings[0].model_copy(update={"label": "zorp", "label_raw": "Zorp!"})
    known = make_record(2, "train", False).model_copy(update={"labels": ("nodule", "blip"), "labels_absent": ("mass",)})
    report = build_report(write_dataset(tmp_path, [record.model_copy(update={"findings": (strange,)}), known]))
    assert report["labels"] == {
        "of_the_image": {"blip": 1, "nodule": 1}, "absent": {"mass": 1}, "unknown": {"Zorp!": 1, "blip": 1},
    }  # fmt: skip
    assert report["images"]["labels_without_place"] == 1
    assert checks(report)["every label is in the vocabulary"] is False


def test_wording_that_gives_answers_away_fails_its_check(tmp_path):
    def giveaway(n: int, split: str):
        record = make_record(n, split, n % 2 == 0)
        said = {True: "Is the obvious nodule there?", False: "Is any nodule there?"}[n % 2 == 0]
        return record.model_copy(update={"questions": (record.questions[0].model_copy(update={"question": said}),)})

    records = [giveaway(n, "train") for n in range(40)]
    records += [giveaway(n, "test").model_copy(update={"image_id": f"t{n}"}) for n in range(50)]
    report = build_report(write_dataset(tmp_path, records))
    assert (report["blind_accuracy"]["accuracy"], report["blind_accuracy"]["text_only"]["accuracy"]) == (0.5, 1.0)
    found = next(check for check in report["checks"] if check["name"].startswith("the wording"))
    assert found == {
        "name": "the wording gives away at most 10%", "ok": False,
        "found": "+50.0 points over the majority answer, without the picture",
    }  # fmt: skip


def test_files(tmp_path):
    report = build_report(write_dataset(tmp_path, [make_record(1, "train", True), make_record(2, "test", False)]))
    assert json.loads((tmp_path / "report.json").read_text()) == report
    page = (tmp_path / "report.html").read_text()
    assert "not a medical device" in page
    assert "right lung" in page
    assert "<script" not in page


def test_not_a_dataset(tmp_path):
    with pytest.raises(UsageError, match="not a built dataset"):
        build_report(tmp_path)
