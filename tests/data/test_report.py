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
    rejects = [Reject(image_id="x", where="a.json", reason=reason, detail="") for reason in reasons]
    report = build_report(write_dataset(tmp_path, records, rejects))
    assert report["splits"] == {
        "train": {"images": 6, "patients": 6, "findings": 4, "questions": 4 * 4 + 2 * 3},
        "test": {"images": 2, "patients": 2, "findings": 1, "questions": 4 + 3},
    }
    assert report["images_without_finding"] == 3
    assert report["findings"]["by_label"] == {"nodule": 5}
    assert report["findings"]["by_organ"] == {"left_lung": 3, "right_lung": 2}
    assert report["findings"]["by_side"] == {"left": 3, "right": 2}
    assert report["findings"]["unclear"] == {"count": 0, "share": 0.0}
    assert report["questions"]["how-many"] == {"count": 8, "distinct_answers": 2, "answers": {"1": 5, "0": 3}}
    assert report["yes_no"] == {"yes": 5, "no": 3, "no_share": 3 / 8}
    assert report["rejected"] == {"box-outside": 2, "missing-image": 1}
    # majority of train: yes, 1, nodule, left (2 : 2, first in the alphabet); of test 1 of 2, 1 of 2, 1 of 2, 1 of 1
    blind = report["blind_accuracy"]
    assert (blind["accuracy"], blind["n"], blind["in_sample"]) == (4 / 7, 7, False)
    assert blind["by_type"]["what"] == {"answer": "nodule", "n": 2, "accuracy": 0.5}
    assert checks(report) == {
        "no patient in two splits": True,
        "no picture in two splits": True,
        "40% to 75% of yes/no answers are no": False,
        "at most 10% of findings without a clear organ": True,
        "an answer without looking is mostly wrong": False,
    }


def test_leak_and_duplicates_are_found(tmp_path):
    one = make_record(1, "train", True, patient="anna")
    two = make_record(2, "test", True, patient="anna")
    twin = make_record(2, "train", True, patient="bert").model_copy(update={"image_id": "twin"})
    report = build_report(write_dataset(tmp_path, [one, two, twin]))
    assert report["patients_in_several_splits"] == {"count": 1, "examples": ["anna"]}
    assert report["duplicates"] == {
        "groups": 1, "images": 2, "groups_across_splits": 1, "examples": [["im02", "twin"]],
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
