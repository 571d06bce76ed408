import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from medclm.errors import UsageError
from medclm.samples.dataset import DatasetWriter, encode_rle

MASK = np.zeros((4, 5), dtype=bool)
MASK[1:3, 2:5] = True


def write(out, organs):
    with DatasetWriter(out, ("nodule", "mass"), {"seed": 1}, "hello\n") as writer:
        number = writer.add_image("a", b"file", (4, 5), patient_id="p")
        writer.add_masks("a", organs)
        writer.add_finding(number, "mass", MASK, (2.0, 1.0, 5.0, 3.0), {"organ": "heart"})


def test_layout_and_entries(tmp_path):
    write(tmp_path / "d", {"heart": MASK, "liver": np.zeros_like(MASK)})
    names = sorted(str(p.relative_to(tmp_path / "d")) for p in (tmp_path / "d").rglob("*") if p.is_file())
    assert names == ["README.md", "annotations.json", "images/a.dcm", "masks/a/heart.png"]
    coco = json.loads((tmp_path / "d" / "annotations.json").read_text())
    assert coco["images"] == [{"id": 1, "file_name": "a.dcm", "width": 5, "height": 4, "patient_id": "p"}]
    assert coco["categories"] == [{"id": 1, "name": "nodule"}, {"id": 2, "name": "mass"}]
    entry = coco["annotations"][0]
    assert (entry["bbox"], entry["area"], entry["category_id"], entry["iscrowd"]) == ([2.0, 1.0, 3.0, 2.0], 6, 2, 0)
    assert coco_mask.decode(entry["segmentation"]).astype(bool).tolist() == MASK.tolist()
    picture = Image.open(tmp_path / "d" / "masks" / "a" / "heart.png")
    assert picture.mode == "L"
    assert np.array(picture).tolist() == (MASK * 255).tolist()


def test_rle_agrees_with_pycocotools_about_box_and_area():
    rle = encode_rle(MASK)
    assert coco_mask.area(rle) == 6
    assert coco_mask.toBbox(rle).tolist() == [2.0, 1.0, 3.0, 2.0]


def test_own_dataset_is_replaced_without_leftovers(tmp_path):
    write(tmp_path / "d", {"heart": MASK, "liver": MASK})
    write(tmp_path / "d", {"heart": MASK})
    assert [p.name for p in (tmp_path / "d" / "masks" / "a").iterdir()] == ["heart.png"]


def test_foreign_directory_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        write(tmp_path, {})
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_failure_publishes_nothing(tmp_path):
    with pytest.raises(KeyError), DatasetWriter(tmp_path / "d", ("nodule",), {}, "") as writer:
        writer.add_finding(1, "unheard of", MASK, (2.0, 1.0, 5.0, 3.0), {})
    assert list(tmp_path.iterdir()) == []
