"""The YOLO reader."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import boxes
from medclm.data.readers.yolo import read_yolo
from medclm.errors import MedclmError
from tests.data.readers.pictures import boxes_of, reasons_of, write_png


@pytest.fixture
def read(tmp_path):
    """Write labels of a 20 x 10 picture and read them."""

    def _read(text, names=("Nodule", "Mass")):
        write_png(tmp_path / "images" / "a.png", (10, 20))
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / "a.txt").write_text(text)
        return read_yolo(str(tmp_path / "images"), str(tmp_path / "labels"), "toy", names)

    return _read


def test_boxes(read):
    result = read("0 0.5 0.5 0.25 0.5\n\n1 0.95 0.9 0.1 0.2\n")
    nodule, mass = result.records[0].findings
    assert (nodule.id, nodule.label_raw, nodule.box_xyxy, nodule.mask_rle) == (
        "a:1",
        "Nodule",
        (7.5, 2.5, 12.5, 7.5),
        None,
    )
    assert (mass.id, mass.label_raw) == ("a:3", "Mass")
    assert mass.box_xyxy == pytest.approx((18, 8, 20, 10), abs=1e-12)
    assert (result.rejects, result.incomplete, result.notes) == ([], frozenset(), ())


def test_polygons_become_masks_and_boxes(read):
    (finding,) = read("1 0.1 0.3 0.3 0.3 0.3 0.8 0.1 0.8").records[0].findings
    mask = np.zeros((10, 20), bool)
    mask[3:8, 2:6] = True
    assert finding.box_xyxy == (2, 3, 6, 8)
    assert np.array_equal(boxes.decode_rle(finding.mask_rle, (10, 20)), mask)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7 0.5 0.5 0.25 0.5", "unknown-category"),
        ("x 0.5 0.5 0.25 0.5", "bad-annotation"),
        ("0.0 0.5 0.5 0.25 0.5", "bad-annotation"),
        ("-1 0.5 0.5 0.25 0.5", "bad-annotation"),
        ("0 0.5 0.5 0.25", "bad-annotation"),
        ("0", "bad-annotation"),
        ("0 0.5 0.5 0.25 0.5 0.9", "bad-annotation"),
        ("0 0.5 0.5 0.25 nan", "bad-box"),
        ("0 0.5 0.5 0.25 b", "bad-box"),
        ("0 0.5 0.5 0 0.5", "bad-box"),
        ("0 0.5 0.5 1.5 0.5", "box-outside"),
        ("0 100 50 20 30", "box-outside"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "bad-box"),
    ],
)
def test_a_bad_line_is_set_aside(read, line, reason):
    result = read(f"0 0.5 0.5 0.5 0.5\n{line}")
    assert boxes_of(result) == {"a": [("Nodule", (5, 2.5, 15, 7.5))]}
    assert reasons_of(result) == [(reason, "a", "a:2")]
    assert result.rejects[0].where == "a.txt: line 2"
    assert result.incomplete == {"a"}


def test_a_repeated_line_leaves_the_image_complete(read):
    result = read("0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5")
    assert (reasons_of(result), result.incomplete) == ([("duplicate-annotation", "a", "a:2")], frozenset())


def test_an_image_without_labels_has_no_findings(read, tmp_path):
    write_png(tmp_path / "images" / "b.png", (4, 4))
    (tmp_path / "images" / "notes.md").write_text("no image")
    result = read("")
    assert (boxes_of(result), result.incomplete) == ({"a": [], "b": []}, frozenset())
    assert result.notes == ("1 images have no label file: in this format they are images without findings",)


def test_labels_without_an_image_and_images_without_a_header(read, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "b.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "labels" / "c.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "labels" / "d.txt").write_bytes(b"\xff\xfe0")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "c.png").write_bytes(b"nothing")
    write_png(tmp_path / "images" / "d.png", (4, 4))
    result = read("0 0.5 0.5 0.5 0.5")
    assert list(boxes_of(result)) == ["a"]
    assert reasons_of(result) == [
        ("missing-image", "b", None),
        ("bad-image-entry", "d", None),
        ("unreadable-image", "c", None),
    ]


def test_splits_and_folders(tmp_path):
    line = "0 0.5 0.5 0.5 0.5"
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        write_png(tmp_path / split / "images" / f"{name}.png", (4, 4))
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / f"{name}.txt").write_text(line)
    (tmp_path / "data.yaml").write_text("names: {0: Nodule}\ntrain: train/images\n")
    result = read_yolo(str(tmp_path), str(tmp_path), "toy")
    assert [(r.image_id, r.split) for r in result.records] == [("c", "test"), ("a", "train"), ("b", "validate")]
    assert all(found == [("Nodule", (1, 1, 3, 3))] for found in boxes_of(result).values())
    assert result.rejects == []


def test_a_label_of_another_split_is_not_taken(tmp_path):
    write_png(tmp_path / "images" / "val" / "a.png", (4, 4))
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    result = read_yolo(str(tmp_path / "images"), str(tmp_path / "labels"), "toy", "Nodule")
    assert (boxes_of(result), reasons_of(result)) == ({"a": []}, [("missing-image", "a", None)])


def test_one_stem_in_two_splits(tmp_path):
    for split in ("train", "val"):
        write_png(tmp_path / "images" / split / "a.png", (4, 4))
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    result = read_yolo(str(tmp_path / "images"), str(tmp_path / "labels"), "toy", "Nodule")
    assert [(r.image_id, r.split) for r in result.records] == [("a", "train")]
    assert reasons_of(result) == [("duplicate-image", "a", None)]


@pytest.mark.parametrize(
    "names", [["Nodule", "Mass"], {0: "Nodule", 1: "Mass"}, {"0": "Nodule", "1": "Mass"}, "Nodule, Mass"]
)
def test_names_given(read, names):
    assert boxes_of(read("1 0.5 0.5 0.5 0.5", names))["a"][0][0] == "Mass"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels/classes.txt", "Nodule\nMass\n"),
        ("classes.txt", "Nodule\nMass"),
        ("data.yaml", "names: [Nodule, Mass]"),
        ("images/obj.names", "Nodule\nMass\n"),
    ],
)
def test_names_found(read, tmp_path, file, text):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / file).write_text(text)
    result = read("1 0.5 0.5 0.5 0.5", None)
    assert (boxes_of(result)["a"][0][0], result.rejects) == ("Mass", [])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("names: [a]\nkpt_shape: [17, 3]", "key points"),
        ("nc: 3", "no class names"),
        ("names: 3", "no list of names"),
        ("names: {a: b}", "no list of names"),
        ("names: []", "no list of names"),
        ("names: [", "not YAML"),
    ],
)
def test_unusable_names(read, tmp_path, text, match):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(MedclmError, match=match):
        read("", None)


def test_no_names_at_all(read):
    with pytest.raises(MedclmError, match="class names are not known"):
        read("", None)


def test_memory_file_system(tmp_path):
    import fsspec

    fs = fsspec.filesystem("memory")
    write_png(tmp_path / "a.png", (4, 4))
    fs.pipe("/yolo-test/images/a.png", (tmp_path / "a.png").read_bytes())
    fs.pipe("/yolo-test/labels/a.txt", b"0 0.5 0.5 0.5 0.5")
    fs.pipe("/yolo-test/data.yaml", b"names: [Nodule]")
    result = read_yolo("memory://yolo-test/images", "memory://yolo-test/labels", "toy")
    assert boxes_of(result) == {"a": [("Nodule", (1, 1, 3, 3))]}
