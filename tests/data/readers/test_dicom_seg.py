"""DICOM SEG: against the NRRD masks of dcmqi, and against objects that highdicom writes over a tiny CT series."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sr.coding import Code

from medclm.data import boxes
from medclm.data.readers.dicom_index import index_images
from medclm.data.readers.dicom_seg import organ_masks, read_seg
from medclm.errors import UsageError
from tests.data.readers import dicom_files as files
from tests.data.readers.dicom_files import rows_of

CODES = {
    meaning: Code(value, "SCT", meaning)
    for value, meaning in {
        "49755003": "Morphologically Altered Structure", "123037004": "Anatomical Structure", "85756007": "Tissue",
        "27925004": "Nodule", "4147007": "Mass", "64033007": "Kidney", "20982000": "Capillary", "24028007": "Right",
        "10200004": "Liver",
    }.items()
}  # fmt: skip
TWO_SPOTS = rows_of("#...... ##..... ....... ....##.")


def segment(number, label, kind, category="Morphologically Altered Structure", modifier=None):
    from highdicom.seg import SegmentDescription

    made = SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=CODES[category],
        segmented_property_type=CODES[kind],
        algorithm_type="MANUAL",
        tracking_uid=f"1.2.3.500.{number}",
        tracking_id="ward seven",
    )
    if modifier:
        coded = made.SegmentedPropertyTypeCodeSequence[0]
        code = CODES[modifier]
        coded.SegmentedPropertyTypeModifierCodeSequence = [
            files.item(CodeValue=code.value, CodingSchemeDesignator="SCT", CodeMeaning=code.meaning)
        ]
    return made


def segmentation(slices, pixels, segments, kind="BINARY", **more):
    """A SEG over ``slices``; ``pixels`` as highdicom takes them, (slices, rows, columns[, segments])."""
    from highdicom.seg import Segmentation

    return Segmentation(
        source_images=slices, pixel_array=pixels, segmentation_type=kind, segment_descriptions=segments,
        series_instance_uid="1.2.3.6", series_number=2, sop_instance_uid="1.2.3.600", instance_number=1,
        manufacturer="none", manufacturer_model_name="none", software_versions="1", device_serial_number="1",
        content_description="ward seven", content_creator_name="Referring^Doctor", **more,
    )  # fmt: skip


@pytest.fixture
def slices(tmp_path):
    return files.write_series(tmp_path / "images")


@pytest.fixture
def read(tmp_path):
    def _read(seg, **options):
        path = files.save(seg, tmp_path / "seg.dcm")
        result = read_seg(str(tmp_path / "images"), path, "toy", **options)
        files.assert_private(result)
        return result

    return _read


def mask_of(finding):
    return boxes.decode_rle(finding.mask_rle, (files.ROWS, files.COLS))


def on_slices(*masks):
    return np.stack([np.zeros_like(TWO_SPOTS) if mask is None else mask for mask in masks])


def test_a_segment_on_two_of_three_slices(read, slices, tmp_path):
    result = read(segmentation(slices, on_slices(None, TWO_SPOTS, rows_of("###")), [segment(1, "a spot", "Nodule")]))
    assert [len(record.findings) for record in result.records] == [0, 1, 1]
    (finding,) = result.records[1].findings
    assert (finding.id, finding.label, finding.label_raw, finding.source) == ("ct1:1", "nodule", "Nodule", "dicom-seg")
    assert finding.box_xyxy == (0, 0, 6, 4)
    assert (mask_of(finding) == TWO_SPOTS).all()
    assert finding.attributes == {
        "segment_number": "1",
        "algorithm_type": "manual",
        "property_category": "Morphologically Altered Structure",
        "property_type": "Nodule",
    }
    assert result.records[2].findings[0].box_xyxy == (0, 0, 3, 1)
    assert (result.rejects, result.incomplete) == ([], frozenset())
    assert result.records[0].source.volume == f"{tmp_path}/images/study/series"


def test_connected_parts(read, slices):
    seg = segmentation(slices, on_slices(TWO_SPOTS, None, None), [segment(1, "x", "Nodule")])
    findings = read(seg, components=True).records[0].findings
    assert [(f.id, f.box_xyxy) for f in findings] == [("ct0:1", (0, 0, 2, 2)), ("ct0:2", (4, 3, 6, 4))]


def test_diagonal_neighbours_are_one_part(read, slices):
    seg = segmentation(slices, on_slices(rows_of("#.. .#. ..#"), None, None), [segment(1, "x", "Nodule")])
    assert len(read(seg, components=True).records[0].findings) == 1


def test_fractional_by_a_threshold(read, slices):
    pixels = np.zeros((3, files.ROWS, files.COLS))
    pixels[0, 0, :4] = [0.2, 0.5, 0.8, 1.0]
    seg = segmentation(slices, pixels, [segment(1, "x", "Nodule")], "FRACTIONAL", max_fractional_value=100)
    assert read(seg).records[0].findings[0].box_xyxy == (1, 0, 4, 1)
    assert read(seg, threshold=0.75).records[0].findings[0].box_xyxy == (2, 0, 4, 1)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_several_segments(read, slices, kind):
    pixels = np.zeros((3, files.ROWS, files.COLS), np.uint8)
    pixels[0][rows_of("##")] = 1
    pixels[0][rows_of("... ###")] = 2
    pixels[2][rows_of("....#")] = 2
    segments = [segment(1, "x", "Nodule"), segment(2, "Pleural effusion", "Mass")]
    records = read(segmentation(slices, pixels, segments, kind)).records
    assert [(f.label, f.label_raw, f.box_xyxy) for f in records[0].findings] == [
        ("nodule", "Nodule", (0, 0, 2, 1)),
        ("effusion", "Pleural effusion", (0, 1, 3, 2)),
    ]
    assert [f.box_xyxy for f in records[2].findings] == [(4, 0, 5, 1)]


def test_the_label_comes_from_the_type_or_the_segment(read, slices):
    seg = segmentation(slices, on_slices(TWO_SPOTS, None, None), [segment(1, "Fracture", "Nodule")])
    labels = {how: read(seg, label=how).records[0].findings[0].label_raw for how in ("auto", "type", "segment")}
    assert labels == {"auto": "Fracture", "type": "Nodule", "segment": "Fracture"}


def test_organs(read, slices, tmp_path):
    pixels = np.zeros((3, files.ROWS, files.COLS, 3), np.uint8)
    pixels[0, ..., 0], pixels[0, ..., 1], pixels[1, ..., 2] = rows_of("####"), rows_of("#"), rows_of("##")
    segments = [
        segment(1, "one", "Kidney", "Anatomical Structure", "Right"),
        segment(2, "two", "Nodule"),
        segment(3, "three", "Capillary", "Tissue"),
    ]
    seg = segmentation(slices, pixels, segments)
    result = read(seg)
    (organ,) = result.records[0].organs
    assert (organ.name, organ.side, organ.box_xyxy, organ.area_px) == ("right_kidney", "right", (0, 0, 4, 1), 4)
    assert [f.label for f in result.records[0].findings] == ["nodule"]
    assert result.notes == ("seg.dcm: segments [3] are organs outside the vocabulary and were left out",)
    as_findings = read(seg, organs_as="findings").records
    assert [f.label_raw for f in as_findings[0].findings] == ["Right Kidney", "Nodule"]
    assert [f.label_raw for f in as_findings[1].findings] == ["Capillary"]
    assert read(seg, organs_as="skip").records[0].organs == ()
    masks = organ_masks(str(tmp_path / "images"), str(tmp_path / "seg.dcm"))
    assert {uid: list(of) for uid, of in masks.items()} == {
        files.uid_of(0): ["right_kidney"],
        files.uid_of(1): [],
        files.uid_of(2): [],
    }
    assert (masks[files.uid_of(0)]["right_kidney"] == rows_of("####")).all()


def test_a_segmentation_of_organs_alone_makes_no_negatives(read, slices):
    liver = segment(1, "liver", "Liver", "Anatomical Structure")
    seg = segmentation(slices, on_slices(TWO_SPOTS, None, None), [liver])
    assert read(seg).incomplete == {"ct0", "ct1", "ct2"}
    assert read(seg, organs_as="findings").incomplete == frozenset()


def test_an_image_that_is_not_in_the_folder(read, slices, tmp_path):
    (tmp_path / "images/study/series/ct1.dcm").unlink()
    seg = segmentation(slices, on_slices(TWO_SPOTS, TWO_SPOTS, None), [segment(1, "x", "Nodule")])
    result = read(seg)
    assert [(r.reason, r.image_id) for r in result.rejects] == [("no-image-entry", files.uid_of(1))]
    assert result.rejects[0].where.startswith("seg.dcm: frame ")
    assert [(record.image_id, len(record.findings)) for record in result.records] == [("ct0", 1), ("ct2", 0)]


def test_without_source_images_the_plane_decides(read, slices):
    seg = segmentation(slices, on_slices(None, TWO_SPOTS, None), [segment(1, "x", "Nodule")])
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    assert [len(record.findings) for record in read(seg).records] == [0, 1, 0]


def test_a_cropped_segmentation_is_put_back_in_its_place(read, slices):
    whole = on_slices(rows_of(".......... ..##...... ..###....."), None, None)
    crop = segmentation(
        slices, np.ascontiguousarray(whole[:, 1:5, 2:6]), [segment(1, "x", "Nodule")],
        plane_positions=_positions([(-9.0, 22.0, 100.0 + 5 * k) for k in range(3)]),
        plane_orientation=_orientation(), pixel_measures=_measures(),
    )  # fmt: skip
    (finding,) = read(crop).records[0].findings
    assert (mask_of(finding) == whole[0]).all()


def _positions(places):
    from highdicom import PlanePositionSequence

    return [PlanePositionSequence(coordinate_system="PATIENT", image_position=place) for place in places]


def _orientation():
    from highdicom import PlaneOrientationSequence

    return PlaneOrientationSequence(coordinate_system="PATIENT", image_orientation=(1, 0, 0, 0, 1, 0))


def _measures():
    from highdicom import PixelMeasuresSequence

    return PixelMeasuresSequence(pixel_spacing=(2.0, 0.5), slice_thickness=5.0)


def test_a_frame_in_another_plane_than_its_source(read, slices):
    seg = segmentation(slices, on_slices(TWO_SPOTS, None, None), [segment(1, "x", "Nodule")])
    seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [-10, 20, 130]
    result = read(seg)
    assert [(r.reason, r.image_id) for r in result.rejects] == [("bad-segmentation", "ct0")]
    assert result.incomplete == {"ct0"}


def test_pixels_of_a_segment_that_is_not_described(read, slices):
    pixels = np.zeros((3, files.ROWS, files.COLS), np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 1, 2
    seg = segmentation(slices, pixels, [segment(1, "x", "Nodule"), segment(2, "y", "Mass")], "LABELMAP")
    seg.SegmentSequence = [s for s in seg.SegmentSequence if s.SegmentNumber != 2]
    result = read(seg)
    assert [(r.reason, r.image_id) for r in result.rejects] == [("unknown-category", "ct0")]
    assert result.incomplete == {"ct0"}


def test_padding_of_a_label_map_is_background(read, slices):
    pixels = np.zeros((3, files.ROWS, files.COLS), np.uint8)
    pixels[0] = 5
    pixels[0, 2, 3] = 1
    seg = segmentation(slices, pixels, [segment(1, "x", "Nodule"), segment(5, "y", "Mass")], "LABELMAP")
    seg.PixelPaddingValue = 5
    assert [f.box_xyxy for f in read(seg).records[0].findings] == [(3, 2, 4, 3)]


def test_a_choice_that_does_not_exist(read, slices):
    seg = segmentation(slices, on_slices(TWO_SPOTS, None, None), [segment(1, "x", "Nodule")])
    with pytest.raises(UsageError, match="organs_as"):
        read(seg, organs_as="lesions")
    with pytest.raises(UsageError, match="label"):
        read(seg, label="none")


class Volume:
    """An axial NRRD in LPS whose axes run along x, y and z."""

    def __init__(self, path):
        nrrd = pytest.importorskip("nrrd")
        self.values, header = nrrd.read(str(path))
        directions, self.origin = np.asarray(header["space directions"]), header["space origin"]
        assert header["space"] == "left-posterior-superior"
        assert np.allclose(directions, np.diag(np.diag(directions)))
        self.steps = np.diag(directions)
        assert (self.steps > 0).all()

    def at(self, plane):
        """(H, W) values of the slice in a plane whose pixels are the volume's."""
        assert plane.orientation == (1, 0, 0, 0, 1, 0)
        assert np.allclose([plane.spacing_mm.col, plane.spacing_mm.row], self.steps[:2], atol=1e-4)
        index = (np.array(plane.position_mm) - self.origin) / self.steps
        assert np.allclose(index, [0, 0, round(index[2])], atol=1e-3)
        return self.values[..., round(index[2])].T


@pytest.mark.parametrize(
    ("images", "seg", "mask", "value"),
    [
        ("ct-3slice", "liver.dcm", "liver_seg.nrrd", 1),
        ("24x38x3/image", "24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd", 1),
        ("23x38x3/image", "23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd", 1),
        ("24x38x3/image", "sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd", 1),
        ("24x38x3/image", "sparse-labelmap-ppv5.dcm", "sparse_labelmap_ppv5_seg.nrrd", 1),
    ],
)
def test_dcmqi_segmentations_equal_their_nrrd_masks(real_data, images, seg, mask, value):
    root = real_data("dcmqi") / "segmentations"
    truth = Volume(root / mask)
    index = index_images(str(root / images))
    masks = organ_masks(str(root / images), str(root / seg))
    result = read_seg(str(root / images), str(root / seg), "dcmqi", organs_as="findings")
    compared = 0
    for record, (uid, organs) in zip(result.records, masks.items(), strict=True):
        expected = truth.at(index.plane((uid, 0))) == value
        found = organs.get("liver", np.zeros_like(expected))
        assert (found == expected).all()
        compared += int(expected.sum())
        decoded = [boxes.decode_rle(finding.mask_rle, expected.shape) for finding in record.findings]
        assert (np.any(decoded, axis=0) == expected).all() if decoded else not expected.any()
    assert compared == (truth.values == value).sum() > 0
    assert (masks.rejects, result.rejects) == ([], [])


def test_dcmqi_overlapping_segments_equal_their_nrrd_masks(real_data):
    """Five segments that overlap, in three NRRD files; value and segment number are the same."""
    root = real_data("dcmqi") / "segmentations"
    result = read_seg(str(root / "ct-3slice"), str(root / "partial_overlaps.dcm"), "dcmqi", organs_as="findings")
    index = index_images(str(root / "ct-3slice"))
    found = {
        (finding.attributes["segment_number"], record.image_id): boxes.decode_rle(finding.mask_rle, (512, 512))
        for record in result.records
        for finding in record.findings
    }
    files_of = {"1": "1", "2": "2", "3": "3", "4": "1", "5": "1"}
    for number, file in files_of.items():
        truth = Volume(root / f"partial_overlaps-{file}.nrrd")
        for key, image_id in index.image_ids.items():
            expected = truth.at(index.plane(key)) == int(number)
            assert (found.pop((number, image_id), np.zeros_like(expected)) == expected).all()
    assert found == {}


def test_highdicom_samples_agree_with_highdicom(real_data):
    """Every usable frame of the samples over the images that come with them: pixels as highdicom reads them."""
    import highdicom

    root = real_data("highdicom") / "test_files"
    path = root / "seg_image_ct_binary_single_frame.dcm"
    result = read_seg(str(root), str(path), "highdicom", organs_as="findings", only_annotated=True)
    (record,) = result.records
    seg = highdicom.seg.segread(str(path))
    (uid,) = {source[2] for source in seg.get_source_image_uids()}
    theirs = seg.get_pixels_by_source_instance([uid], segment_numbers=[1])[0, ..., 0].astype(bool)
    assert record.image_id == "ct_image"
    assert (boxes.decode_rle(record.findings[0].mask_rle, theirs.shape) == theirs).all()


def test_tiles_without_a_description_are_set_aside(real_data):
    root = real_data("highdicom") / "test_files"
    result = read_seg(str(root), str(root / "seg_image_sm_dots_tiled_full.dcm"), "highdicom")
    assert "no-geometry" in {r.reason for r in result.rejects}
