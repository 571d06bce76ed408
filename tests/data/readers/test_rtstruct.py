"""RT structure sets over a CT series of 3 slices of 8 x 10 pixels (0.5 mm wide, 2 mm high); masks by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import boxes
from medclm.data.readers.rtstruct import read_rtstruct
from medclm.errors import MedclmError, UsageError
from tests.data.readers import dicom_files as files
from tests.data.readers.dicom_files import item, reference, rows_of


def contour(k: int, corners, uid: str | None = "own", kind: str = "CLOSED_PLANAR", z: float | None = None):
    """A contour through pixel *centres* given as (column, row) of slice ``k``."""
    height = files.ORIGIN[2] + files.GAP_MM * k if z is None else z
    data = [v for c, r in corners for v in (files.ORIGIN[0] + 0.5 * c, files.ORIGIN[1] + 2 * r, height)]
    more = {"ContourImageSequence": [reference(files.uid_of(k) if uid == "own" else uid)]} if uid else {}
    return item(ContourGeometricType=kind, NumberOfContourPoints=len(corners), ContourData=data, **more)


def structure_set(rois: dict[str, tuple[str, list]], series: str = files.SERIES):
    """An RTSTRUCT of {ROI name: (interpreted type, contours)}."""
    ds = files.base("1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.200", "RTSTRUCT", "1.2.3.3")
    ds.StructureSetLabel, ds.ApprovalStatus = "plan", "UNAPPROVED"
    listed = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=series)])
    ds.ReferencedFrameOfReferenceSequence = [item(RTReferencedStudySequence=[listed])]
    ds.StructureSetROISequence = [
        item(
            ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=files.FRAME_OF_REFERENCE,
            ROIDescription="ward seven",
        )
        for n, name in enumerate(rois, 1)
    ]  # fmt: skip
    ds.RTROIObservationsSequence = [
        item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType=kind, ROIInterpreter="Referring^Doctor")
        for n, (kind, _) in enumerate(rois.values(), 1)
    ]
    ds.ROIContourSequence = [
        item(ReferencedROINumber=n, ContourSequence=contours) for n, (_, contours) in enumerate(rois.values(), 1)
    ]
    return ds


SQUARE = [(1.5, 0.5), (4.5, 0.5), (4.5, 3.5), (1.5, 3.5)]
"""From pixel border to pixel border: columns 2 to 4, rows 1 to 3."""


@pytest.fixture
def read(tmp_path):
    files.write_series(tmp_path / "images")

    def _read(rois, series=files.SERIES, **options):
        path = files.save(structure_set(rois, series), tmp_path / "rs.dcm")
        result = read_rtstruct(str(tmp_path / "images"), path, "toy", **options)
        files.assert_private(result)
        return result

    return _read


def mask_of(finding):
    return boxes.decode_rle(finding.mask_rle, (files.ROWS, files.COLS))


def test_a_contour_on_its_slice(read, tmp_path):
    result = read({"GTV-1": ("GTV", [contour(1, SQUARE)])})
    assert [len(record.findings) for record in result.records] == [0, 1, 0]
    record = result.records[1]
    (finding,) = record.findings
    assert (finding.id, finding.label_raw, finding.attributes) == ("ct1:1", "GTV-1", {"roi_type": "gtv"})
    assert finding.box_xyxy == (2, 1, 5, 4)  # the contour's -10 + 1.5 / 2 mm is column 1.5 of centres, 2.0 of corners
    assert (mask_of(finding) == rows_of("..... ..### ..### ..###")).all()
    assert (record.image_id, record.patient_id, record.study_id, record.modality) == ("ct1", "P-1", files.STUDY, "CT")
    assert record.source.uri == f"{tmp_path}/images/study/series/ct1.dcm"
    assert (record.source.volume, record.source.frame) == (f"{tmp_path}/images/study/series", None)
    assert (result.rejects, result.incomplete) == ([], frozenset())


def test_a_contour_through_pixel_centres(read):
    """The half pixel between centre and corner: a contour from centre to centre starts at x = 2.5 and y = 1.5."""
    result = read({"GTV": ("GTV", [contour(0, [(2, 1), (4, 1), (4, 3), (2, 3)])])})
    (finding,) = result.records[0].findings
    assert finding.box_xyxy == (2.5, 1.5, 4.5, 3.5)
    assert (mask_of(finding) == rows_of("..... ..##. ..##.")).all()


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_an_inner_contour_is_a_hole(read, kind):
    inner = [(2.5, 1.5), (3.5, 1.5), (3.5, 2.5), (2.5, 2.5)]
    result = read({"GTV": ("GTV", [contour(0, SQUARE, kind=kind), contour(0, inner, kind=kind)])})
    (finding,) = result.records[0].findings
    assert (mask_of(finding) == rows_of("..... ..### ..#.# ..###")).all()


def test_two_contours_apart_are_one_finding(read):
    other = [(5.5, 4.5), (7.5, 4.5), (7.5, 5.5), (5.5, 5.5)]
    (finding,) = read({"GTV": ("GTV", [contour(0, SQUARE), contour(0, other)])}).records[0].findings
    assert finding.box_xyxy == (2, 1, 8, 6)
    assert mask_of(finding).sum() == 9 + 2


def test_without_a_named_image_the_plane_decides(read):
    result = read({"GTV": ("GTV", [contour(2, SQUARE, uid=None), contour(0, SQUARE, uid=None, z=106.0)])})
    assert [len(record.findings) for record in result.records] == [0, 1, 1]


def test_organs_and_lesions_by_type_and_name(read):
    rois = {
        "Liver": ("ORGAN", [contour(0, SQUARE)]),
        "Left lung": ("", [contour(0, SQUARE)]),
        "nodule": ("", [contour(0, SQUARE)]),
        "PTV 60": ("PTV", [contour(0, SQUARE)]),
        "Body": ("EXTERNAL", [contour(0, SQUARE)]),
        "Ring": ("ORGAN", [contour(0, SQUARE)]),
    }
    result = read(rois)
    first = result.records[0]
    assert [(organ.name, organ.side, organ.area_px) for organ in first.organs] == [
        ("left_lung", "left", 9),
        ("liver", "right", 9),
    ]
    assert [finding.label for finding in first.findings] == ["nodule"]
    assert result.notes == (
        "rs.dcm: 2 of 6 ROIs were left out by type or name",
        "rs.dcm: ROI 6 is an organ outside the vocabulary and was left out",
    )
    raw = [f.label_raw for f in read(rois, organs_as="findings").records[0].findings]
    assert raw == ["Liver", "Left lung", "nodule", "Ring"]
    skipped = read(rois, organs_as="skip").records[0]
    assert (skipped.organs, len(skipped.findings)) == ((), 1)
    assert [f.label_raw for f in read(rois, include="ptv*, nod*").records[0].findings] == ["nodule", "PTV 60"]
    assert read(rois, include=["*"], exclude="*").records[0].findings == ()


@pytest.mark.parametrize(
    ("contours", "reason", "image_id"),
    [
        ([contour(0, SQUARE, uid="1.9.9")], "no-image-entry", "1.9.9"),
        ([contour(0, SQUARE, uid=None, z=300.0)], "no-image-entry", "rs.dcm: ROI 1, contour 1"),
        ([contour(0, SQUARE, z=106.0)], "bad-segmentation", "ct0"),
        ([contour(0, [(1, 1)], kind="POINT")], "no-geometry", "ct0"),
        ([contour(0, SQUARE, kind="OPEN_PLANAR")], "no-geometry", "ct0"),
        ([contour(0, SQUARE[:2])], "no-geometry", "ct0"),
        ([], "no-geometry", "rs.dcm: ROI 1"),
        ([contour(0, [(-8, 1), (3, 1), (3, 3), (-8, 3)])], "box-outside", "ct0"),
    ],
)
def test_what_is_set_aside(read, contours, reason, image_id):
    result = read({"GTV": ("GTV", contours)})
    assert [(r.reason, r.image_id) for r in result.rejects] == [(reason, image_id)]
    assert [len(record.findings) for record in result.records] == [0, 0, 0]
    assert result.incomplete == ({"ct0"} if image_id == "ct0" else frozenset())


def test_damaged_coordinates_are_set_aside_and_the_rest_kept(read):
    bad = contour(0, SQUARE)
    bad.ContourData = list(bad.ContourData)[:-1]
    result = read({"GTV": ("GTV", [bad, contour(1, SQUARE)])})
    assert [(r.reason, r.image_id) for r in result.rejects] == [("bad-annotation", "ct0")]
    assert len(result.records[1].findings) == 1
    assert result.incomplete == {"ct0"}


def test_images_of_a_series_that_no_object_refers_to_are_no_negatives(read, tmp_path):
    files.save(files.ct_slice(9, series="1.2.3.8"), tmp_path / "images" / "other" / "other.dcm")
    rois = {"GTV": ("GTV", [contour(1, SQUARE)])}
    assert read(rois).incomplete == {"other"}
    assert read(rois, complete=True).incomplete == frozenset()
    assert [record.image_id for record in read(rois, only_annotated=True).records] == ["ct1"]
    assert read(rois, series="1.2.3.4").incomplete == {"ct0", "ct2", "other"}


def test_a_structure_set_of_organs_alone_makes_no_negatives(read):
    rois = {"Liver": ("ORGAN", [contour(1, SQUARE)])}
    assert read(rois).incomplete == {"ct0", "ct1", "ct2"}
    assert read(rois, organs_as="findings").incomplete == frozenset()


def test_a_file_cut_off_anywhere_is_an_error_for_users_or_set_aside(read, tmp_path):
    read({"GTV": ("GTV", [contour(1, SQUARE)]), "Liver": ("ORGAN", [contour(0, SQUARE)])})
    path = tmp_path / "rs.dcm"
    data = path.read_bytes()
    outcomes = set()
    for end in range(140, len(data), 37):
        path.write_bytes(data[:end])
        try:
            result = read_rtstruct(str(tmp_path / "images"), str(path), "toy")
            outcomes.add("rejects" if result.rejects else "read")
        except MedclmError:
            outcomes.add("error")
    assert "error" in outcomes


def test_a_folder_of_annotations_with_a_broken_one(read, tmp_path):
    read({})
    folder = tmp_path / "annotations"
    files.save(structure_set({"GTV": ("GTV", [contour(1, SQUARE)])}), folder / "a" / "rs.dcm")
    (folder / "broken.dcm").write_bytes(b"junk")
    (folder / "readme.txt").write_text("x")
    result = read_rtstruct(str(tmp_path / "images"), str(folder), "toy")
    assert [(r.reason, r.image_id) for r in result.rejects] == [("bad-annotation", "broken.dcm")]
    assert len(result.records[1].findings) == 1


def test_nothing_to_read(read, tmp_path):
    read({})
    images = str(tmp_path / "images")
    with pytest.raises(UsageError, match="no such annotation"):
        read_rtstruct(images, str(tmp_path / "none.dcm"), "toy")
    with pytest.raises(UsageError, match="modality RTSTRUCT"):
        read_rtstruct(images, images, "toy")
    with pytest.raises(UsageError, match="organs_as"):
        read_rtstruct(images, str(tmp_path / "rs.dcm"), "toy", organs_as="organ")
    (tmp_path / "bad.dcm").write_bytes(np.arange(400, dtype=np.uint8).tobytes())
    with pytest.raises(MedclmError, match="not DICOM"):
        read_rtstruct(images, str(tmp_path / "bad.dcm"), "toy")
