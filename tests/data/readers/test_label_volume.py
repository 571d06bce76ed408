"""Label volumes: parts, boxes and masks by hand, any order of axes, and what is set aside."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from medclm.data import boxes, readers
from medclm.data.decode import decode_record
from medclm.data.images import read_file
from medclm.data.readers.label_volume import read_label_volumes
from medclm.errors import UsageError
from tests.data import volume_arrays as arrays
from tests.data.readers import dicom_files as files
from tests.data.readers.pictures import boxes_of, reasons_of

NODULE = {1: "nodule"}
LABELS = np.zeros((4, 3, 2), np.uint8)
LABELS[1:3, 0, 0] = 1  # columns 1 and 2 of row 0
LABELS[0, 1, 0] = 1  # touches them by a corner
LABELS[3, 2, 0] = 1


@pytest.fixture
def write(tmp_path):
    """Writes volume ``a`` and its labels, and reads them."""

    def _write(values=LABELS, lps=arrays.LPS, ending=".nii.gz", **options):
        arrays.nifti(tmp_path / "images" / "a.nii.gz")
        writer = arrays.write_nrrd if ending == ".nrrd" else arrays.nifti
        writer(tmp_path / "labels" / f"a{ending}", values, lps, **options.pop("header", {}))
        return read_label_volumes(
            f"{tmp_path}/images", f"{tmp_path}/labels", "toy", **{"labels": NODULE, "every": 1, **options}
        )

    return _write


def test_parts_boxes_and_masks_by_hand(write, tmp_path):
    result = write(modality="CT")
    assert boxes_of(result) == {"a-0000": [("nodule", (0, 0, 3, 2)), ("nodule", (3, 2, 4, 3))], "a-0001": []}
    assert (result.rejects, result.incomplete) == ([], frozenset())
    first = result.records[0]
    assert (first.dataset, first.modality, first.plane, first.patient_id) == ("toy", "CT", "axial", "a")
    assert first.source.model_dump() == {
        "uri": f"{tmp_path}/images/a.nii.gz", "reader": "label-volume", "sha256": "", "frame": 0,
        "volume": f"{tmp_path}/images/a.nii.gz", "display": "",
    }  # fmt: skip
    finding = first.findings[0]
    assert (finding.id, finding.label) == ("a-0000:1", "nodule")
    assert boxes.decode_rle(finding.mask_rle, (3, 4)).tolist() == [
        [False, True, True, False], [True, False, False, False], [False] * 4,
    ]  # fmt: skip
    assert read_file(first.source.uri, 0)[0].size_hw == (3, 4)


def test_labels_in_another_order_of_axes_fit(write):
    flipped = arrays.LPS @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, -1, 1], [0, 0, 0, 1.0]])
    assert boxes_of(write(LABELS[::-1, :, ::-1], flipped)) == boxes_of(write())
    swapped = arrays.LPS[:, [1, 0, 2, 3]]
    assert boxes_of(write(LABELS.transpose(1, 0, 2), swapped)) == boxes_of(write())


def test_labels_elsewhere_or_nowhere_are_refused(write):
    shifted = arrays.LPS.copy()
    shifted[0, 3] += 0.25  # half a pixel
    for lps, text in ((shifted, "do not lie where"), (None, "label volume does not say how it lies")):
        result = write(lps=lps)
        assert result.records == []
        assert reasons_of(result) == [("no-geometry", "a", None)]
        assert text in result.rejects[0].detail


def test_names_come_from_the_option_or_from_the_file(write):
    header = {"Segment0_LabelValue": "1", "Segment0_Name": "Lung mass"}
    assert boxes_of(write(ending=".nrrd", header=header, labels={}))["a-0000"][0][0] == "Lung mass"


def test_without_names_nothing_is_read(write):
    assert reasons_of(write(labels=None)) == [("unknown-category", "a", None)]


def test_a_value_that_means_nothing_makes_its_slices_incomplete(write):
    labels = LABELS.copy()
    labels[0, 0, 1] = 7
    result = write(labels)
    assert reasons_of(result) == [("unknown-category", "a-0001", "a-0001:value-7")]
    assert result.incomplete == {"a-0001"}
    assert write(labels, labels={1: "nodule", 7: ""}).incomplete == frozenset(), "left out on purpose"


def test_organs_become_organs_and_say_nothing_about_lesions(write):
    labels = LABELS.copy()
    labels[:2, 2, 0] = 2
    both = write(labels, labels={"1": "tumor", "2": "liver"})
    (organ,) = both.records[0].organs
    assert (organ.name, organ.box_xyxy, organ.area_px, organ.source) == ("liver", (0, 2, 2, 3), 2, "label-volume")
    assert [len(record.findings) for record in both.records] == [2, 0]
    assert both.incomplete == frozenset()
    alone = write(labels, labels={1: "", 2: "liver"})
    assert alone.incomplete == {"a-0000", "a-0001"}


def test_segments_in_layers_may_overlap(tmp_path):
    arrays.nifti(tmp_path / "images" / "a.nii.gz")
    arrays.write_layers(tmp_path / "labels" / "a.seg.nrrd")
    result = read_label_volumes(f"{tmp_path}/images", f"{tmp_path}/labels", "toy", every=1)
    assert boxes_of(result) == {"a-0000": [("cyst", (1, 0, 2, 1))], "a-0001": []}
    organs = [[(organ.name, organ.box_xyxy) for organ in record.organs] for record in result.records]
    assert organs == [[("liver", (0, 0, 2, 1))], [("spleen", (3, 2, 4, 3))]], "the cyst takes nothing off the liver"


def test_every_nth_slice_without_a_finding(tmp_path):
    values = np.zeros((4, 3, 10), np.uint8)
    values[0, 0, 4] = 1
    arrays.nifti(tmp_path / "images" / "a.nii", values)
    arrays.nifti(tmp_path / "labels" / "a.nii", values)

    def slices(every):
        found = read_label_volumes(f"{tmp_path}/images", f"{tmp_path}/labels", "toy", NODULE, every=every)
        return [record.source.frame for record in found.records]

    assert slices(0) == [4]
    assert slices(3) == [0, 3, 4, 7]  # 0 3 7 of 0 1 2 3 5 6 7 8 9
    assert slices(1) == list(range(10))


def test_which_labels_belong_to_which_volume(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    for name in ("p1/ct.nii", "p2/ct.nii", "b.nii", "lonely.nii"):
        arrays.nifti(images / name)
    for name in ("p1/seg.nii", "p2/seg.nii", "b.nii.gz", "c.nii"):
        arrays.nifti(labels / name, LABELS)
    result = read_label_volumes(str(images), str(labels), "toy", NODULE, every=0)
    assert [record.image_id for record in result.records] == ["b-0000", "p1-ct-0000", "p2-ct-0000"]
    assert [record.patient_id for record in result.records] == ["b", "p1", "p2"]
    assert reasons_of(result) == [("missing-image", "lonely", None), ("missing-image", "c", None)]


def test_labels_beside_their_images(tmp_path):
    arrays.nifti(tmp_path / "a.nii.gz")
    arrays.nifti(tmp_path / "a_seg.nii.gz", LABELS)
    with pytest.raises(UsageError, match="nothing tells them apart"):
        read_label_volumes(str(tmp_path), str(tmp_path), "toy", NODULE)
    result = read_label_volumes(str(tmp_path), str(tmp_path), "toy", NODULE, suffix="_seg", every=0)
    assert [len(record.findings) for record in result.records] == [2]
    alone = read_label_volumes(str(tmp_path), f"{tmp_path}/a_seg.nii.gz", "toy", NODULE, suffix="_seg", every=0)
    assert boxes_of(alone) == boxes_of(result)


def test_labels_of_a_dicom_series(tmp_path):
    for k in (2, 0, 1):
        files.save(files.ct_slice(k), tmp_path / "images" / "scan" / f"{9 - k}.dcm")
    labels = np.zeros((files.COLS, files.ROWS, 3), np.uint8)
    labels[6:8, 1:4, 1] = 1
    affine = np.array([[0.5, 0, 0, -10], [0, 2, 0, 20], [0, 0, 5, 100], [0, 0, 0, 1]])
    arrays.nifti(tmp_path / "labels" / "scan.nii.gz", labels, affine)
    result = read_label_volumes(f"{tmp_path}/images", f"{tmp_path}/labels", "toy", NODULE, every=0)
    (record,) = result.records
    assert record.source.uri.endswith("/scan/8.dcm")
    assert (record.patient_id, record.study_id, record.modality) == ("P-1", files.STUDY, "CT")
    assert record.findings[0].box_xyxy == (6, 1, 8, 4)
    files.assert_private(result)


def test_a_slice_reaches_the_display_with_its_mask(tmp_path):
    """Rows of the file run to the front, so the picture and the box are turned upside down."""
    front = arrays.LPS @ np.diag([1.0, -1, 1, 1])
    arrays.nifti(tmp_path / "images" / "a.nii.gz", arrays.VALUES, front)
    arrays.nifti(tmp_path / "labels" / "a.nii.gz", LABELS, front)
    records = read_label_volumes(f"{tmp_path}/images", f"{tmp_path}/labels", "toy", NODULE, every=0).records
    decoded = decode_record(records[0], "auto")
    assert decoded.record.source.display == "flip-rows"
    assert decoded.values.tolist() == [[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert [finding.box_xyxy for finding in decoded.record.findings] == [(0, 1, 3, 3), (3, 0, 4, 1)]
    assert len(decoded.record.source.sha256) == 64


def test_the_modality_that_the_file_does_not_say_chooses_the_window(write):
    assert decode_record(write(modality="CT").records[0], "brain").window.name == "brain"
    assert decode_record(write().records[0], "brain").window.name == ""


WRONG = [{"every": -1}, {"every": "2"}, {"labels": {"one": "nodule"}}, {"labels": "nodule"}]


@pytest.mark.parametrize("options", WRONG)
def test_wrong_options(write, options):
    with pytest.raises(UsageError):
        write(**options)


def test_damaged_labels(tmp_path, write):
    write()
    (tmp_path / "labels" / "a.nii.gz").write_bytes(b"x")
    result = read_label_volumes(f"{tmp_path}/images", f"{tmp_path}/labels", "toy", NODULE)
    assert reasons_of(result) == [("bad-segmentation", "a", None)]


def test_it_is_a_format(tmp_path, write):
    write()
    found = readers.read("label-volume", f"{tmp_path}/images", f"{tmp_path}/labels", "toy", {"labels": NODULE})
    assert len(found.records) == 2


def test_real_organs_on_a_real_series(real_data, tmp_path):
    """TotalSegmentator's names are in the file; the CT is stored as displayed, its labels upside down."""
    root = real_data("totalsegmentator-ref")
    labels = str(root / "example_seg_dicom.nii.gz")
    shutil.copytree(root / "example_ct_dicom", tmp_path / "images" / "example_seg_dicom")
    result = read_label_volumes(f"{tmp_path}/images", labels, "ts", every=10)
    assert result.rejects == []
    assert [record.image_id[-5:] for record in result.records] == ["-0000", "-0010"]
    assert result.incomplete == {record.image_id for record in result.records}
    organs = {organ.name: organ for organ in result.records[1].organs}
    x1, _, x2, _ = organs["liver"].box_xyxy
    assert (x1 + x2) / 2 < 256, "the patient's right"
    assert organs["spleen"].box_xyxy[0] > 256
    decoded = decode_record(result.records[1], "auto")
    assert decoded.window.name == ""
    assert 60 < decoded.values[boxes.decode_rle(organs["liver"].rle, (512, 512))].mean() < 120
