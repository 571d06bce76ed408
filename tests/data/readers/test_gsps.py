"""Presentation states over a CT series of 3 slices of 8 x 10 pixels; coordinates worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import boxes
from medclm.data.readers.gsps import label_of, read_gsps
from medclm.errors import UsageError
from tests.data.readers import dicom_files as files
from tests.data.readers.dicom_files import item, reference, rows_of

RECTANGLE = [2, 1, 5, 1, 5, 4, 2, 4, 2, 1]


def graphic(data=RECTANGLE, kind="POLYLINE", units="PIXEL"):
    return item(
        GraphicAnnotationUnits=units, GraphicDimensions=2, NumberOfGraphicPoints=len(data) // 2, GraphicData=data,
        GraphicType=kind, GraphicFilled="N",
    )  # fmt: skip


def text(value, anchor=(3.0, 2.0), units="PIXEL"):
    return item(AnchorPointAnnotationUnits=units, AnchorPoint=list(anchor), UnformattedTextValue=value)


def text_in_box(value, corners):
    (x1, y1), (x2, y2) = corners
    return item(
        BoundingBoxAnnotationUnits="PIXEL", BoundingBoxTopLeftHandCorner=[x1, y1],
        BoundingBoxBottomRightHandCorner=[x2, y2], UnformattedTextValue=value,
    )  # fmt: skip


def annotation(graphics, texts=(), images=None):
    more = {"TextObjectSequence": list(texts)} if texts else {}
    more |= {"GraphicObjectSequence": list(graphics)} if graphics else {}
    return item(GraphicLayer="LESIONS", **more, **({"ReferencedImageSequence": images} if images else {}))


def state(annotations, slices=(0,), area=((1, 1), (files.COLS, files.ROWS)), rotation=None, flip="N"):
    ds = files.base("1.2.840.10008.5.1.4.1.1.11.1", "1.2.3.300", "PR", "1.2.3.4")
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "X", "ward seven", "Referring^Doctor"
    references = [reference(files.uid_of(k)) for k in slices]
    ds.ReferencedSeriesSequence = [item(SeriesInstanceUID=files.SERIES, ReferencedImageSequence=references)]
    (x1, y1), (x2, y2) = area
    ds.DisplayedAreaSelectionSequence = [
        item(DisplayedAreaTopLeftHandCorner=[x1, y1], DisplayedAreaBottomRightHandCorner=[x2, y2])
    ]
    if rotation is not None:
        ds.ImageRotation, ds.ImageHorizontalFlip = rotation, flip
    ds.GraphicAnnotationSequence = annotations
    return ds


@pytest.fixture
def read(tmp_path):
    files.write_series(tmp_path / "images")

    def _read(ds, **options):
        path = files.save(ds, tmp_path / "pr.dcm")
        result = read_gsps(str(tmp_path / "images"), path, "toy", **options)
        files.assert_private(result)
        return result

    return _read


def test_pixel_units_start_at_the_outer_corner_of_the_first_pixel(read):
    result = read(state([annotation([graphic()], [text("Nodule, see ward seven")])]))
    (finding,) = result.records[0].findings
    assert (finding.label, finding.label_raw, finding.source) == ("nodule", "nodule", "gsps")
    assert finding.box_xyxy == (2, 1, 5, 4)
    mask = boxes.decode_rle(finding.mask_rle, (files.ROWS, files.COLS))
    assert (mask == rows_of("..... ..### ..### ..###")).all()
    assert [len(record.findings) for record in result.records] == [1, 0, 0]
    assert result.incomplete == {"ct1", "ct2"}  # nobody said that they are free of findings
    assert result.rejects == []


def test_circle_and_ellipse(read):
    graphics = [graphic([4, 4, 4, 2], "CIRCLE"), graphic([1, 3, 7, 3, 4, 2, 4, 4], "ELLIPSE")]
    circle, ellipse = read(state([annotation(graphics)])).records[0].findings
    assert circle.box_xyxy == (2, 2, 6, 6)
    assert ellipse.box_xyxy == (1, 2, 7, 4)
    assert (circle.label, ellipse.label) == ("lesion", "lesion")


@pytest.mark.parametrize(
    ("area", "rotation", "flip", "data"),
    [
        # the whole picture of 10 x 8 pixels; the region is columns 2 to 5, rows 1 to 4 of its pixel borders
        (((1, 1), (10, 8)), None, "N", [0.2, 1 / 8, 0.5, 1 / 8, 0.5, 4 / 8, 0.2, 4 / 8, 0.2, 1 / 8]),
        (((1, 1), (10, 8)), 0, "N", [0.2, 1 / 8, 0.5, 1 / 8, 0.5, 4 / 8, 0.2, 4 / 8, 0.2, 1 / 8]),
        # pixels 3\2 to 6\5 are shown: 4 x 4 of them, from border 2, 1 to border 6, 5
        (((3, 2), (6, 5)), 0, "N", [0, 0, 0.75, 0, 0.75, 0.75, 0, 0.75, 0, 0]),
        # half a turn: the last pixel is at the top left
        (((10, 8), (1, 1)), 180, "N", [0.5, 4 / 8, 0.8, 4 / 8, 0.8, 7 / 8, 0.5, 7 / 8, 0.5, 4 / 8]),
        # a quarter clockwise: the first column, read upwards, is the top row: right is -y, down is +x
        (((1, 8), (10, 1)), 90, "N", [4 / 8, 0.2, 7 / 8, 0.2, 7 / 8, 0.5, 4 / 8, 0.5, 4 / 8, 0.2]),
        # a quarter counter-clockwise: the last column is the top row: right is +y, down is -x
        (((10, 1), (1, 8)), 270, "N", [1 / 8, 0.5, 4 / 8, 0.5, 4 / 8, 0.8, 1 / 8, 0.8, 1 / 8, 0.5]),
        # flipped: right is -x
        (((10, 1), (1, 8)), 0, "Y", [0.5, 1 / 8, 0.8, 1 / 8, 0.8, 4 / 8, 0.5, 4 / 8, 0.5, 1 / 8]),
        # turned by a quarter, then flipped: right is +y, down is +x
        (((1, 1), (10, 8)), 90, "Y", [1 / 8, 0.2, 4 / 8, 0.2, 4 / 8, 0.5, 1 / 8, 0.5, 1 / 8, 0.2]),
    ],
)
def test_display_units_are_shares_of_the_displayed_area(read, area, rotation, flip, data):
    ds = state([annotation([graphic(data, units="DISPLAY")])], area=area, rotation=rotation, flip=flip)
    (finding,) = read(ds).records[0].findings
    assert finding.box_xyxy == pytest.approx((2, 1, 5, 4), abs=1e-5)


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (graphic([3, 2], "POINT"), "no-geometry"),
        (graphic([2, 1, 5, 1, 5, 4]), "no-geometry"),
        (graphic([2, 1, 5, 1]), "no-geometry"),
        (graphic(units="MATRIX"), "no-geometry"),
        (graphic([2, 1, 50, 1, 50, 4, 2, 1]), "box-outside"),
        (graphic([2, 1, 5, 1, 5]), "bad-annotation"),
        (graphic([4, 4], "CIRCLE"), "bad-annotation"),
    ],
)
def test_what_is_set_aside(read, drawn, reason):
    result = read(state([annotation([drawn, graphic()])]))
    assert [(r.reason, r.image_id) for r in result.rejects] == [(reason, "ct0")]
    assert len(result.records[0].findings) == 1
    assert "ct0" in result.incomplete


def test_images_of_an_annotation(read):
    own = annotation([graphic()], images=[reference(files.uid_of(2))])
    result = read(state([annotation([graphic()]), own], slices=(0, 2)))
    assert [len(record.findings) for record in result.records] == [1, 0, 2]
    missing = read(state([annotation([graphic()], images=[reference("1.9.9")])]))
    assert [(r.reason, r.image_id) for r in missing.rejects] == [("no-image-entry", "1.9.9")]


def test_a_text_without_a_graphic(read):
    result = read(state([annotation([], [text("nodule")])]))
    assert [(r.reason, r.image_id) for r in result.rejects] == [("no-geometry", "ct0")]


def test_each_graphic_takes_the_nearest_text(read):
    graphics = [graphic(), graphic([8, 6, 9, 6, 9, 7, 8, 7, 8, 6])]
    texts = [text_in_box("fracture", ((7, 6), (9, 7))), text("nodule", (0.3, 0.25), "DISPLAY")]
    findings = read(state([annotation(graphics, texts)])).records[0].findings
    assert [finding.label for finding in findings] == ["nodule", "fracture"]


def test_labels():
    assert label_of("Pleural effusion", "lesion", "vocabulary") == "effusion"
    assert label_of("nodule 7 mm Doe", "lesion", "vocabulary") == "nodule"
    assert label_of("nodule or mass", "lesion", "vocabulary") == "lesion"
    assert label_of("Doe", "mark", "vocabulary") == "mark"
    assert label_of("my\r\nlabel", "lesion", "all") == "my label"
    assert label_of("  ", "lesion", "all") == "lesion"


def test_options(read, tmp_path):
    ds = state([annotation([graphic()], [text("Spot")])])
    assert read(ds, texts="all").records[0].findings[0].label_raw == "Spot"
    assert read(ds, label="mass").records[0].findings[0].label == "mass"
    assert read(ds, complete=True).incomplete == frozenset()
    assert [record.image_id for record in read(ds, only_annotated=True).records] == ["ct0"]
    with pytest.raises(UsageError, match="texts"):
        read(ds, texts="some")


def test_a_frame_of_a_multi_frame_image(tmp_path):
    ds = files.ct_slice(0)
    ds.NumberOfFrames = 2
    ds.PixelData = np.zeros((2, files.ROWS, files.COLS), np.uint16).tobytes()
    files.save(ds, tmp_path / "images" / "cine.dcm")
    drawn = state([annotation([graphic()], images=[reference(files.uid_of(0), frame=2)])])
    result = read_gsps(str(tmp_path / "images"), files.save(drawn, tmp_path / "pr.dcm"), "toy")
    assert [(r.image_id, r.source.frame, len(r.findings)) for r in result.records] == [
        ("cine-0000", 0, 0),
        ("cine-0001", 1, 1),
    ]
