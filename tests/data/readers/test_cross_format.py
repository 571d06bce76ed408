"""The same dataset as COCO, VOC, YOLO and CSV is the same to everything after the reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data.readers import read
from tests.data.readers.pictures import write_png

SIZES = {"a": (32, 64), "b": (128, 64), "c": (64, 64)}  # powers of two: shares of them are exact in binary
TRUTH = {
    "a": [("Pleural effusion", (0, 0, 10, 32)), ("Nodule", (7, 3, 9, 6))],
    "b": [("Odd_Thing", (63, 127, 64, 128))],
    "c": [],
}
NAMES = ["Nodule", "Odd_Thing", "Pleural effusion"]


def write_coco(folder):
    images = [{"id": k, "file_name": f"{k}.png", "height": h, "width": w} for k, (h, w) in SIZES.items()]
    annotations = [
        {"id": f"{k}{i}", "image_id": k, "category_id": NAMES.index(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for k, found in TRUTH.items()
        for i, (label, (x1, y1, x2, y2)) in enumerate(found)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    path = folder / "a.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_voc(folder):
    for key, found in TRUTH.items():
        height, width = SIZES[key]
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>"
            for label, (x1, y1, x2, y2) in found
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>1</depth></size>"
        (folder / f"{key}.xml").write_text(f"<annotation><filename>{key}.png</filename>{size}{objects}</annotation>")
    return folder


def write_yolo(folder):
    for key, found in TRUTH.items():
        height, width = SIZES[key]
        lines = [
            f"{NAMES.index(label)} {(x1 + x2) / 2 / width!r} {(y1 + y2) / 2 / height!r} {(x2 - x1) / width!r} "
            f"{(y2 - y1) / height!r}"
            for label, (x1, y1, x2, y2) in found
        ]
        (folder / f"{key}.txt").write_text("\n".join(lines))
    (folder / "classes.txt").write_text("\n".join(NAMES))
    return folder


def write_csv(folder):
    rows = [
        f"{k}.png,{label},{','.join(map(str, box))},{SIZES[k][0]},{SIZES[k][1]}"
        for k, found in TRUTH.items()
        for label, box in found or [("No finding", ("", "", "", ""))]
    ]
    path = folder / "a.csv"
    path.write_text("\n".join(["image,label,x1,y1,x2,y2,height,width", *rows]))
    return path


COLUMNS = {name: name for name in ("image", "label", "x1", "y1", "x2", "y2", "height", "width")}
FORMATS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo, "csv": write_csv}


def read_as(format, images, folder):
    folder.mkdir()
    annotations = FORMATS[format](folder)
    return read(format, str(images), str(annotations), "toy", {"columns": COLUMNS} if format == "csv" else {})


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same(tmp_path, format):
    for key, size_hw in SIZES.items():
        write_png(tmp_path / "images" / f"{key}.png", size_hw)
    result = read_as(format, tmp_path / "images", tmp_path / "annotations")
    assert (result.rejects, result.incomplete, result.notes) == ([], frozenset(), ())
    found = {r.image_id: [(f.label_raw, f.box_xyxy) for f in r.findings] for r in result.records}
    assert found == TRUTH
    assert [f.label for r in result.records for f in r.findings] == ["effusion", "nodule", "odd thing"]
    assert [r.source.uri for r in result.records] == [f"{tmp_path}/images/{key}.png" for key in SIZES]
    assert {(r.patient_id == r.image_id, r.dataset, r.source.reader) for r in result.records} == {(True, "toy", format)}


@st.composite
def pictures(draw):
    """A picture's size and a box of whole pixels in it."""
    height, width = draw(st.integers(1, 3000)), draw(st.integers(1, 3000))
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (height, width), (x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height)))


@given(pictures())
@settings(max_examples=200, deadline=None)
def test_voc_counts_the_pixels_that_the_box_covers(picture):
    from medclm.data.readers.voc import from_one_based

    _, (x1, y1, x2, y2) = picture
    columns, rows = range(x1, x2), range(y1, y2)  # pixels from 0; VOC counts them from 1 and names the last
    assert from_one_based((columns[0] + 1, rows[0] + 1, columns[-1] + 1, rows[-1] + 1)) == (x1, y1, x2, y2)


@given(pictures(), st.sampled_from((6, 17)))
@settings(max_examples=200, deadline=None)
def test_yolo_shares_with_some_digits_come_back_as_pixels(picture, digits):
    from medclm.data.readers.yolo import box_of

    (height, width), (x1, y1, x2, y2) = picture
    shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    back = box_of([float(f"{share:.{digits}f}") for share in shares], (height, width))
    assert back == pytest.approx((x1, y1, x2, y2), abs=1e-6 * 3000 if digits == 6 else 1e-9)
