"""TID 1500 reports that highdicom writes over a tiny CT series, and those of its samples and of dcmqi."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.sr.coding import Code

from medclm.data import boxes
from medclm.data.readers.dicom_sr import read_sr
from medclm.errors import UsageError
from tests.data.readers import dicom_files as files
from tests.data.readers.dicom_files import rows_of
from tests.data.readers.test_dicom_seg import TWO_SPOTS, on_slices, segment, segmentation

NODULE = Code("27925004", "SCT", "Nodule")
LUNG, LEFT = Code("39607008", "SCT", "Lung"), Code("7771000", "SCT", "Left")
DIAMETER, LENGTH_MM = Code("81827009", "SCT", "Diameter"), Code("mm", "UCUM", "millimeter")
MARGIN, SMOOTH = Code("129736006", "SCT", "Border of lesion"), Code("82280004", "SCT", "Smooth")
HALF_PIXEL_RECTANGLE = np.array([(2.5, 1.5), (5, 1.5), (5, 4), (2.5, 4), (2.5, 1.5)])


def mm(*corners, k=1):
    """(column, row) of pixel centres of slice ``k`` as (N, 3) patient coordinates."""
    return np.array([(-10 + 0.5 * c, 20 + 2.0 * r, 100 + 5.0 * k) for c, r in corners])


def scoord(kind, points, k=1):
    from highdicom import sr

    source = sr.SourceImageForRegion(files.ct_slice(k).SOPClassUID, files.uid_of(k))
    return sr.ImageRegion(kind, np.array(points, dtype=float), source)


def scoord3d(kind, points):
    from highdicom import sr

    return sr.ImageRegion3D(kind, points, files.FRAME_OF_REFERENCE)


def group(region=None, kind="Planar", finding_type=NODULE, **more):
    """A planar, volumetric or regionless measurement group with a site, a measurement and an evaluation."""
    from highdicom import sr

    made = {
        "Planar": sr.PlanarROIMeasurementsAndQualitativeEvaluations,
        "Volumetric": sr.VolumetricROIMeasurementsAndQualitativeEvaluations,
        "Image": sr.MeasurementsAndQualitativeEvaluations,
    }[kind]
    regions = {} if region is None else {"referenced_region": region}
    return made(
        tracking_identifier=sr.TrackingIdentifier(uid="1.2.3.700", identifier="ward seven"),
        finding_type=finding_type,
        finding_sites=[sr.FindingSite(anatomic_location=LUNG, laterality=LEFT)],
        measurements=[sr.Measurement(name=DIAMETER, value=12.5, unit=LENGTH_MM)],
        qualitative_evaluations=[sr.QualitativeEvaluation(name=MARGIN, value=SMOOTH)],
        **regions,
        **more,
    )


def report(groups, evidence=()):
    from highdicom import sr
    from pydicom.sr.codedict import codes

    observer = sr.ObserverContext(
        codes.DCM.Person,
        sr.PersonObserverIdentifyingAttributes(name="Referring^Doctor", organization_name="ward seven"),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.cid100.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
    )
    return sr.Comprehensive3DSR(
        evidence=[*(files.ct_slice(k) for k in range(3)), *evidence], content=content, series_instance_uid="1.2.3.7",
        series_number=3, sop_instance_uid="1.2.3.701", instance_number=1, manufacturer="none",
    )  # fmt: skip


@pytest.fixture
def read(tmp_path):
    files.write_series(tmp_path / "images")

    def _read(groups, evidence=(), **options):
        path = files.save(report(groups, evidence), tmp_path / "sr" / "sr.dcm")
        result = read_sr(str(tmp_path / "images"), path, "toy", **options)
        files.assert_private(result)
        return result

    return _read


def mask_of(finding):
    return boxes.decode_rle(finding.mask_rle, (files.ROWS, files.COLS))


def counts(result):
    return [len(record.findings) for record in result.records]


def test_image_coordinates_start_at_the_outer_corner_of_the_first_pixel(read):
    result = read([group(scoord("POLYLINE", HALF_PIXEL_RECTANGLE))])
    assert counts(result) == [0, 1, 0]
    (finding,) = result.records[1].findings
    assert (finding.id, finding.label, finding.label_raw, finding.source) == ("ct1:1", "nodule", "Nodule", "dicom-sr")
    assert finding.box_xyxy == (2.5, 1.5, 5, 4)
    assert (mask_of(finding) == rows_of("..... ..### ..### ..###")).all()  # centres 2.5 and 1.5 lie on the edge: inside
    assert finding.attributes == {"finding_site": "Left Lung", "diameter": "12.5 mm", "border_of_lesion": "Smooth"}
    assert result.rejects == []
    assert result.incomplete == {"ct0", "ct2"}  # reports mark key images


def test_circle_ellipse_and_an_open_region(read):
    result = read(
        [
            group(scoord("CIRCLE", [(4, 4), (4, 2)])),
            group(scoord("ELLIPSE", [(1, 3), (7, 3), (4, 2), (4, 4)])),
            group(scoord("POLYLINE", [(2, 1), (5, 1), (5, 4), (2, 4)])),
        ]
    )
    assert [f.box_xyxy for f in result.records[1].findings] == [(2, 2, 6, 6), (1, 2, 7, 4), (2, 1, 5, 4)]


def test_points(read):
    groups = [group(scoord("POINT", [(4, 3)]))]
    aside = read(groups)
    assert [(r.reason, r.image_id) for r in aside.rejects] == [("no-geometry", "ct1")]
    (finding,) = read(groups, point_px=2).records[1].findings
    assert (finding.box_xyxy, finding.mask_rle) == ((3, 2, 5, 4), None)


def test_patient_coordinates_are_drawn_on_their_slice(read):
    """A contour through the centres of columns 2 to 5 and rows 1 to 4: half a pixel further in corner coordinates."""
    corners = [(2, 1), (5, 1), (5, 4), (2, 4), (2, 1)]
    result = read([group(scoord3d("POLYGON", mm(*corners, k=2)))])
    assert counts(result) == [0, 0, 1]
    (finding,) = result.records[2].findings
    assert finding.box_xyxy == pytest.approx((2.5, 1.5, 5.5, 4.5))
    assert (mask_of(finding) == rows_of("..... ..### ..### ..###")).all()


def test_a_flat_ellipse_in_patient_coordinates(read):
    """1.5 mm are 3 columns, 2 mm are 1 row."""
    ellipse = mm((1, 3), (7, 3), (4, 2), (4, 4), k=0)
    (finding,) = read([group(scoord3d("ELLIPSE", ellipse))]).records[0].findings
    assert finding.box_xyxy == pytest.approx((1.5, 2.5, 7.5, 4.5))


def test_a_region_off_every_slice(read):
    corners = mm((2, 1), (5, 1), (5, 4), (2, 4), (2, 1), k=40)
    result = read([group(scoord3d("POLYGON", corners)), group(scoord("CIRCLE", [(4, 4), (4, 2)]))])
    assert [r.reason for r in result.rejects] == ["no-image-entry"]
    assert counts(result) == [0, 1, 0]


def test_an_ellipsoid_on_every_slice_that_it_reaches(read):
    """Centre in slice 1; 2 mm in x (4 columns), 5 mm in y (2.5 rows), 6 mm in z: slices 0 and 2 are 5 mm away."""
    from highdicom import sr

    center = mm((5, 4), k=1)[0]
    ends = np.array([center + s * np.array(axis) for axis in ((2, 0, 0), (0, 5, 0), (0, 0, 6)) for s in (-1, 1)])
    surface = sr.VolumeSurface(
        "ELLIPSOID", ends, files.FRAME_OF_REFERENCE,
        source_series=sr.SourceSeriesForSegmentation(files.SERIES),
    )  # fmt: skip
    result = read([group(kind="Volumetric", referenced_volume_surface=surface)])
    assert counts(result) == [1, 1, 1]
    (middle,) = result.records[1].findings
    assert (mask_of(middle)[4] == [False, True, True, True, True, True, True, True, True, True]).all()  # columns 1 to 9
    assert mask_of(middle)[:, 5].tolist() == [False, False, True, True, True, True, True, False]  # rows 2 to 6
    (first,) = result.records[0].findings  # the cut is smaller by sqrt(1 - 25 / 36) = 0.553: 2.2 columns, 1.4 rows
    assert mask_of(first)[4].tolist() == [False] * 3 + [True] * 5 + [False] * 2
    assert mask_of(first)[:, 5].tolist() == [False] * 3 + [True] * 3 + [False] * 2


def test_a_surface_of_polygons(read):
    from highdicom import sr

    outer, inner = [(1.5, 0.5), (4.5, 0.5), (4.5, 3.5), (1.5, 3.5)], [(2.5, 1.5), (3.5, 1.5), (3.5, 2.5), (2.5, 2.5)]
    contours = [mm(*[*ring, ring[0]], k=k) for ring, k in ((outer, 0), (inner, 0), (outer, 1))]
    surface = sr.VolumeSurface(
        "POLYGON", contours, files.FRAME_OF_REFERENCE, source_series=sr.SourceSeriesForSegmentation(files.SERIES)
    )
    result = read([group(kind="Volumetric", referenced_volume_surface=surface)])
    assert counts(result) == [1, 1, 0]
    assert (mask_of(result.records[0].findings[0]) == rows_of("..... ..### ..#.# ..###")).all()
    assert (mask_of(result.records[1].findings[0]) == rows_of("..... ..### ..### ..###")).all()


def test_several_regions_of_a_volumetric_group(read):
    regions = [scoord("CIRCLE", [(4, 4), (4, 2)], k) for k in (0, 2)]
    assert counts(read([group(kind="Volumetric", referenced_regions=regions)])) == [1, 0, 1]


@pytest.fixture
def seg(tmp_path):
    """A SEG of two segments beside the report: a nodule on slices 0 and 1, a mass on slice 2."""
    pixels = np.zeros((3, files.ROWS, files.COLS), np.uint8)
    pixels[on_slices(TWO_SPOTS, rows_of("##"), None)] = 1
    pixels[on_slices(None, None, rows_of("####"))] = 2
    made = segmentation(
        [files.ct_slice(k) for k in range(3)], pixels, [segment(1, "x", "Nodule"), segment(2, "y", "Mass")]
    )
    files.save(made, tmp_path / "sr" / "seg.dcm")
    return made


def test_a_segment_that_the_group_refers_to(read, seg, tmp_path):
    from highdicom import sr

    slices = [files.ct_slice(k) for k in range(3)]
    whole = group(kind="Volumetric", referenced_segment=sr.ReferencedSegment.from_segmentation(seg, segment_number=1))
    source = sr.SourceImageForSegmentation.from_source_image(slices[2])
    frame = next(
        n for n, g in enumerate(seg.PerFrameFunctionalGroupsSequence, 1)
        if g.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2
    )  # fmt: skip
    one = sr.ReferencedSegmentationFrame(seg.SOPClassUID, seg.SOPInstanceUID, frame, 2, source)
    result = read([whole, group(finding_type=None, referenced_segment=one)], evidence=[seg])
    assert counts(result) == [1, 1, 1]
    assert (mask_of(result.records[0].findings[0]) == TWO_SPOTS).all()
    assert (mask_of(result.records[1].findings[0]) == rows_of("##")).all()
    (mass,) = result.records[2].findings
    assert (mass.label_raw, mass.attributes["diameter"]) == ("Mass", "12.5 mm")
    elsewhere = read([whole], evidence=[seg], segmentations=str(tmp_path / "images"))
    assert [(r.reason, counts(elsewhere)) for r in elsewhere.rejects] == [("no-geometry", [0, 0, 0])]


def test_groups_without_a_region_or_a_type(read):
    from highdicom import sr

    source = sr.SourceImageForMeasurementGroup.from_source_image(files.ct_slice(0))
    result = read(
        [
            group(kind="Image", source_images=[source]),
            group(scoord("CIRCLE", [(4, 4), (4, 2)]), finding_type=None),
        ]
    )
    assert sorted((r.reason, r.image_id) for r in result.rejects) == [("bad-annotation", "ct1"), ("no-geometry", "ct0")]
    assert counts(result) == [0, 0, 0]


def test_an_image_that_is_not_in_the_folder(read, tmp_path):
    (tmp_path / "images/study/series/ct1.dcm").unlink()
    result = read([group(scoord("CIRCLE", [(4, 4), (4, 2)]))])
    assert [(r.reason, r.image_id) for r in result.rejects] == [("no-image-entry", files.uid_of(1))]


def test_options(read, tmp_path):
    groups = [group(scoord("CIRCLE", [(4, 4), (4, 2)]))]
    assert read(groups, complete=True).incomplete == frozenset()
    assert [record.image_id for record in read(groups, only_annotated=True).records] == ["ct1"]
    with pytest.raises(UsageError, match="modality SR"):
        read_sr(str(tmp_path / "images"), str(tmp_path / "images"), "toy")


def test_a_report_of_another_template(read, tmp_path):
    read([group(scoord("CIRCLE", [(4, 4), (4, 2)]))])
    path = tmp_path / "sr" / "sr.dcm"
    document = pydicom.dcmread(path)
    document.ContentTemplateSequence[0].TemplateIdentifier = "2000"
    document.save_as(path)
    result = read_sr(str(tmp_path / "images"), str(path), "toy")
    assert [r.reason for r in result.rejects] == ["no-geometry"]


def test_highdicom_samples(real_data):
    """A circle of radius 11 around 58, 52 and two rectangles, as the files write them."""
    root = real_data("highdicom") / "test_files"
    records = read_sr(str(root), str(root / "sr_document.dcm"), "highdicom", only_annotated=True).records
    (finding,) = records[0].findings
    assert (records[0].image_id, finding.label_raw, finding.box_xyxy) == ("ct_image", "Spinal cord", (47, 41, 69, 63))
    assert finding.attributes["area_of_defined_region"] == "1.7 cm2"
    result = read_sr(str(root), str(root / "sr_document_with_multiple_groups.dcm"), "highdicom", only_annotated=True)
    assert [(f.label_raw, f.box_xyxy, f.attributes["diameter"]) for f in result.records[0].findings] == [
        ("Nodule", (35, 45, 55, 65), "10 mm"),
        ("Aorta", (25, 45, 45, 65), "20 mm"),
    ]
    assert [r.reason for r in result.rejects if "group" in r.where] == ["no-image-entry", "no-geometry"]


def test_dcmqi_report_with_its_segment(real_data, tmp_path):
    """The tumour of the report on slices that are made here from the geometry that the SEG states for its sources."""
    import highdicom

    root = real_data("dcmqi") / "sr-example"
    seg = highdicom.seg.segread(str(root / "seg.dcm"))
    shared = seg.SharedFunctionalGroupsSequence[0]
    for k, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        ds = files.ct_slice(k)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
        ds.Rows, ds.Columns, ds.FrameOfReferenceUID = seg.Rows, seg.Columns, seg.FrameOfReferenceUID
        ds.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        ds.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        ds.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        ds.PixelData = bytes(2 * seg.Rows * seg.Columns)
        files.save(ds, tmp_path / f"{k:02d}.dcm")
    result = read_sr(str(tmp_path), str(root / "sr.dcm"), "dcmqi")
    assert result.rejects == []
    assert len(result.records) == 13
    for record, frame in zip(result.records, seg.pixel_array.astype(bool), strict=True):
        (finding,) = record.findings
        assert finding.label_raw == "Neoplasm, Primary"
        assert (boxes.decode_rle(finding.mask_rle, frame.shape) == frame).all()
        assert finding.attributes["suvbw_mean"] == "6.01529 Standardized Uptake Value body weight"
        assert finding.attributes["volume"] == "33.5824 ml"
