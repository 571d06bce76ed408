import json

import pytest
from PIL import Image

from medclm.errors import UsageError
from medclm.eval.benchmarks import load_benchmark
from medclm.eval.run import evaluate


def picture(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (100, 80), 30).save(path)


@pytest.fixture
def slake(tmp_path):
    for n in (1, 2):
        picture(tmp_path / f"imgs/xmlab{n}/source.jpg")
    one = [{"Liver": [10, 20, 30, 40]}, {"Mass": [1, 2, 3, 4]}, {"Mass": [50, 2, 3, 4]}, {"Cyst": [1, 2, 0, 4]}]
    (tmp_path / "imgs/xmlab1/detection.json").write_text(json.dumps(one))
    (tmp_path / "imgs/xmlab2/detection.json").write_text('[{"Liver": [')
    return tmp_path


def test_slake_has_a_question_for_each_label(slake):
    found = load_benchmark(f"slake-boxes:{slake}")
    assert [(item.id, item.question) for item in found.items] == [
        ("xmlab1:liver", "Where is the liver?"), ("xmlab1:mass", "Where is the mass?"),
    ]  # fmt: skip
    assert found.items[0].boxes == ((10.0, 20.0, 40.0, 60.0),)  # x, y, width, height
    assert len(found.items[1].boxes) == 2
    assert any("2 files have faults" in note for note in found.notes)
    assert "all images: the question file is missing" in found.notes
    (slake / "test.json").write_text(json.dumps([{"img_name": "xmlab2/source.jpg"}]))
    with pytest.raises(UsageError, match="no held-out questions"):
        load_benchmark(f"slake-boxes:{slake}")


def test_boxes_are_scored_and_are_in_no_accuracy(slake, tmp_path):
    lines = [
        {"id": "xmlab1:liver", "text": "here [10, 20, 40, 60]", "predicted_boxes": [[10, 20, 40, 40]]},
        {"id": "xmlab1:mass", "text": "I cannot say"},
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = evaluate(tmp_path / "p.jsonl", [f"slake-boxes:{slake}"], tmp_path / "o")
    found = result["benchmarks"]["slake-boxes"]
    assert found["accuracy"]["value"] is None
    # liver: half of the box, IoU 0.5; mass: nothing
    assert found["grounding"]["mean_iou"]["value"] == 0.25
    assert found["grounding"]["acc_50"]["value"] == 0.5
    assert found["parse_failures"]["count"] == 1
    assert "no box could be read" in found["parse_failures"]["examples"][0]["reason"]
    assert "Where is the mass?" in (tmp_path / "o/report.html").read_text()


def test_own_boxes_in_coco(tmp_path):
    picture(tmp_path / "images/a.png")
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 80}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 5, 5]}],
        "categories": [{"id": 1, "name": "Nodule"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    (item,) = load_benchmark(f"boxes:{tmp_path}").items
    assert (item.question, item.boxes) == ("Where is the nodule?", ((10.0, 10.0, 15.0, 15.0),))


def test_chestxdet(tmp_path):
    picture(tmp_path / "test/36199.png")
    rows = [{"file_name": "36199.png", "syms": ["Mass", "Mass"], "boxes": [[1, 2, 30, 40], [50, 2, 60, 40]]}]
    (tmp_path / "ChestX_Det_test.json").write_text(json.dumps(rows))
    (item,) = load_benchmark(f"chestx-det:{tmp_path}").items
    assert (item.question, len(item.boxes)) == ("Where is the mass?", 2)
