"""The COCO reader: what is kept, what is set aside, and why."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from medclm.data import boxes
from medclm.data.readers.coco import read_coco
from medclm.data.records import Spacing
from medclm.errors import MedclmError

BASE = {
    "images": [
        {
            "id": 1,
            "file_name": "a.dcm",
            "width": 20,
            "height": 10,
            "patient_id": "p1",
            "study_id": "s1",
            "modality": "DX",
            "plane": "frontal",
            "view": "PA",
            "split": "test",
            "spacing_mm": [0.5, 0.25],
        },
        {"id": 2, "file_name": "b.png", "width": 20, "height": 10},
    ],
    "categories": [{"id": 1, "name": "Pleural effusion"}, {"id": 7, "name": "Odd Thing"}],
    "annotations": [
        {"id": 5, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5], "attributes": {"malignancy": 4, "side": "l"}},
        {"id": 6, "image_id": 1, "category_id": 7, "bbox": [0.5, 0, 1.5, 2]},
    ],
}


@pytest.fixture
def read(tmp_path):
    """Write a changed copy of BASE and read it."""

    def _read(change=lambda document: None):
        document = copy.deepcopy(BASE)
        change(document)
        (tmp_path / "images").mkdir(exist_ok=True)
        for name in ("a.dcm", "b.png"):
            (tmp_path / "images" / name).write_bytes(b"")
        (tmp_path / "annotations.json").write_text(json.dumps(document))
        return read_coco(str(tmp_path / "images"), str(tmp_path / "annotations.json"), "toy")

    return _read


def add(**annotation):
    """A change that adds one annotation to image 1."""
    whole = {"id": 9, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5], **annotation}
    return lambda document: document["annotations"].append({k: v for k, v in whole.items() if v != "absent"})


def test_a_clean_file(read, tmp_path):
    result = read()
    assert (result.rejects, result.incomplete, result.notes) == ([], frozenset(), ())
    first, second = result.records
    assert (first.image_id, first.patient_id, first.study_id, first.dataset) == ("a", "p1", "s1", "toy")
    assert (first.modality, first.plane, first.view, first.split) == ("DX", "frontal", "PA", "test")
    assert first.spacing_mm == Spacing(row=0.5, col=0.25)
    assert first.source.uri == f"{tmp_path}/images/a.dcm"
    assert first.image is None
    effusion, odd = first.findings
    assert (effusion.id, effusion.label, effusion.label_raw) == ("a:5", "effusion", "Pleural effusion")
    assert effusion.box_xyxy == (2, 3, 6, 8)
    assert effusion.attributes == {"malignancy": "4", "side": "l"}
    assert (odd.label, odd.label_raw, odd.source) == ("odd thing", "Odd Thing", "coco")
    assert odd.box_xyxy == (0.5, 0, 2, 2)
    assert (second.patient_id, second.split, second.findings) == ("b", None, ())


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"category_id": 99}, "unknown-category"),
        ({"category_id": None}, "unknown-category"),
        ({"bbox": [2, 3, 0, 5]}, "bad-box"),
        ({"bbox": [2, 3, 4, -5]}, "bad-box"),
        ({"bbox": [2, 3, float("nan"), 5]}, "bad-box"),
        ({"bbox": [2, 3, float("inf"), 5]}, "bad-box"),
        ({"bbox": [2, 3, 4]}, "bad-box"),
        ({"bbox": "2 3 4 5"}, "bad-box"),
        ({"bbox": "absent"}, "bad-box"),
        ({"bbox": [30, 3, 4, 5]}, "box-outside"),
        ({"bbox": [2, 3, 19.5, 5]}, "box-outside"),
        ({"bbox": [20, 3, 0.5, 5]}, "box-outside"),
        ({"id": None}, "bad-annotation"),
        ({"id": 5, "bbox": [1, 1, 1, 1]}, "duplicate-annotation"),
        ({"iscrowd": 1}, "crowd"),
        ({"attributes": [1]}, "bad-annotation"),
        ({"attributes": {"a": {"b": 1}}}, "bad-annotation"),
        ({"segmentation": {"size": [20, 10], "counts": [200]}}, "bad-segmentation"),
        ({"segmentation": {"size": [10, 20], "counts": [199]}}, "bad-segmentation"),
        ({"segmentation": {"size": [10, 20], "counts": "zzz"}}, "bad-segmentation"),
        ({"segmentation": [[1, 2, 3, 4]]}, "bad-segmentation"),
        ({"segmentation": 5}, "bad-segmentation"),
    ],
)
def test_a_bad_annotation_is_set_aside_and_the_rest_kept(read, annotation, reason):
    result = read(add(**annotation))
    assert [finding.id for finding in result.records[0].findings] == ["a:5", "a:6"]
    assert len(result.records) == 2
    (reject,) = result.rejects
    assert (reject.reason, reject.image_id) == (reason, "a")
    assert reject.where == "annotations.json: annotations[2]"
    assert reject.finding_id is not None
    assert result.incomplete == {"a"}
    assert type(reject).model_validate_json(reject.model_dump_json()) == reject


def test_an_image_that_lost_its_only_finding_is_no_negative(read):
    result = read(add(image_id=2, category_id=99))
    assert result.records[1].findings == ()
    assert result.incomplete == {"b"}


def test_an_exact_repetition_is_dropped_and_leaves_the_image_complete(read):
    result = read(lambda d: d["annotations"].append(d["annotations"][0]))
    assert [r.reason for r in result.rejects] == ["duplicate-annotation"]
    assert result.incomplete == frozenset()


@pytest.mark.parametrize(("image_id", "shown"), [(77, "77"), (None, "None"), ([1], "[1]")])
def test_annotation_of_an_unknown_image(read, image_id, shown):
    result = read(add(image_id=image_id))
    assert [(r.reason, r.image_id, r.finding_id) for r in result.rejects] == [("no-image-entry", shown, None)]
    assert result.incomplete == frozenset()


def test_annotation_that_is_no_object(read):
    result = read(lambda d: d["annotations"].append(3))
    assert [r.reason for r in result.rejects] == ["no-image-entry"]


def test_a_box_that_sticks_out_by_a_pixel_is_clipped_and_noted(read):
    result = read(add(bbox=[15, 8, 6, 2.5]))
    assert result.records[0].findings[2].box_xyxy == (15, 8, 20, 10)
    assert result.notes == ("box of finding a:9 stuck out by 1 px and was clipped",)
    assert (result.rejects, result.incomplete) == ([], frozenset())


def test_missing_image_takes_its_annotations_along(read):
    result = read(lambda d: d["images"][0].update(file_name="nowhere.dcm"))
    assert [record.image_id for record in result.records] == ["b"]
    assert [(r.reason, r.image_id, r.where) for r in result.rejects] == [
        ("missing-image", "nowhere", "annotations.json: images[0]")
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": None},
        {"width": 20.5},
        {"file_name": 3},
        {"split": "dev"},
        {"spacing_mm": [0, 1]},
        {"spacing_mm": 0.5},
        {"id": None},
    ],
)
def test_bad_image_entry(read, change):
    result = read(lambda d: d["images"][1].update(change))
    assert [record.image_id for record in result.records] == ["a"]
    assert [r.reason for r in result.rejects] == ["bad-image-entry"]


def test_path_out_of_the_folder_is_no_image(read):
    result = read(lambda d: d["images"][1].update(file_name="../annotations.json"))
    assert [r.reason for r in result.rejects] == ["missing-image"]


def test_repeated_image_entries(read):
    same = read(lambda d: d["images"].append(d["images"][0]))
    assert [record.image_id for record in same.records] == ["a", "b"]
    assert [r.reason for r in same.rejects] == ["duplicate-image"]
    conflicting = read(lambda d: d["images"].append({**d["images"][1], "id": 1}))
    assert [record.image_id for record in conflicting.records] == ["b"]
    assert {r.reason for r in conflicting.rejects} == {"duplicate-image"}
    assert len(conflicting.rejects) == 2


def test_two_ids_for_one_file(read):
    result = read(lambda d: d["images"].append({**d["images"][0], "id": 3}))
    assert [record.image_id for record in result.records] == ["a", "b"]
    assert [r.reason for r in result.rejects] == ["duplicate-image"]
    assert len(result.records[0].findings) == 2
    assert result.incomplete == frozenset()


def test_findings_lost_with_a_second_id_of_one_file_make_it_incomplete(read):
    def change(document):
        document["images"].append({**document["images"][0], "id": 3})
        document["annotations"].append({"id": 9, "image_id": 3, "category_id": 1, "bbox": [1, 1, 2, 2]})

    assert read(change).incomplete == {"a"}


def test_segmentations_become_one_run_length_form(read):
    mask = np.zeros((10, 20), bool)
    mask[3:8, 2:6] = True
    compressed = boxes.encode_rle(mask)
    runs = [23, 5, 5, 5, 5, 5, 5, 5, 142]  # column-major: 2 columns of 10, then rows 3 to 8 of four columns
    forms = (
        {"size": [10, 20], "counts": compressed},
        {"size": [10, 20], "counts": runs},
        [[2, 3, 6, 3, 6, 8, 2, 8]],
    )
    for form in forms:
        assert read(add(segmentation=form)).records[0].findings[2].mask_rle == compressed
        assert read(add(segmentation=form, bbox="absent")).records[0].findings[2].box_xyxy == (2, 3, 6, 8)
    assert read(add(segmentation=[])).records[0].findings[2].mask_rle is None


@pytest.mark.parametrize(
    "text", ["", "{", '{"images": []}', "[]", '{"images": [], "annotations": [], "categories": 1}']
)
def test_unusable_file(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(MedclmError) as caught:
        read_coco(str(tmp_path), str(tmp_path / "a.json"), "toy")
    assert caught.value.details["where"] == str(tmp_path / "a.json")


def test_bad_categories(read):
    with pytest.raises(MedclmError, match="share one id"):
        read(lambda d: d["categories"].append({"id": 1, "name": "other"}))
    with pytest.raises(MedclmError, match="needs an id and a name"):
        read(lambda d: d["categories"].append({"id": 3}))


def test_missing_folder_and_file(tmp_path, read):
    read()
    with pytest.raises(MedclmError, match="no such annotation file"):
        read_coco(str(tmp_path / "images"), str(tmp_path / "other.json"), "toy")
    with pytest.raises(MedclmError, match="no such image folder"):
        read_coco(str(tmp_path / "none"), str(tmp_path / "annotations.json"), "toy")


def test_memory_file_system(tmp_path):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/coco-test/images/sub/a.dcm", b"x")
    document = {**BASE, "images": [{**BASE["images"][0], "file_name": "sub/a.dcm"}]}
    fs.pipe("/coco-test/annotations.json", json.dumps(document).encode())
    result = read_coco("memory://coco-test/images", "memory://coco-test/annotations.json", "toy")
    assert result.records[0].source.uri == "memory://coco-test/images/sub/a.dcm"
    assert len(result.records[0].findings) == 2
