"""The index of an image folder."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data.readers.base import Refused
from medclm.data.readers.dicom_index import index_images
from medclm.data.records import Spacing
from medclm.errors import UsageError
from tests.data.readers import dicom_files as files


@pytest.fixture
def folder(tmp_path):
    files.write_series(tmp_path)
    return tmp_path


def multi_frame(frames: int = 2):
    """An enhanced image: two frames, 5 mm apart, described by functional groups."""
    ds = files.ct_slice(50, series="1.2.3.5")
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    ds.NumberOfFrames, ds.FrameOfReferenceUID = frames, "1.2.3.77"
    ds.SharedFunctionalGroupsSequence = [
        files.item(
            PlaneOrientationSequence=[files.item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[files.item(PixelSpacing=[1.0, 1.0])],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        files.item(PlanePositionSequence=[files.item(ImagePositionPatient=[0, 0, 5 * i])]) for i in range(2)
    ]
    ds.PixelData = bytes(2 * 2 * files.ROWS * files.COLS)
    return ds


def test_what_a_header_says(folder):
    index = index_images(str(folder))
    assert list(index.images) == [files.uid_of(k) for k in range(3)]
    image = index.images[files.uid_of(1)]
    assert (image.path, image.frames, image.size_hw) == ("study/series/ct1.dcm", 1, (8, 10))
    assert (image.spacing_mm, image.modality) == (Spacing(row=2.0, col=0.5), "CT")
    assert (image.patient_id, image.study_uid, image.series_uid) == ("P-1", files.STUDY, files.SERIES)
    assert image.planes[0].position_mm == (-10, 20, 105)
    assert image.planes[0].orientation == (1, 0, 0, 0, 1, 0)
    assert (index.rejects, index.notes) == ([], ())
    assert index.image_ids[files.uid_of(2), 0] == "ct2"
    assert index.volume_folders == {files.SERIES: f"{folder}/study/series"}


def test_broken_files_are_set_aside_and_other_files_counted(folder):
    (folder / "broken.dcm").write_bytes(b"x" * 500)
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("hello")
    data = (folder / "study/series/ct0.dcm").read_bytes()
    (folder / "copy.dcm").write_bytes(data)
    (folder / "cut.dcm").write_bytes(data[:700])
    result = index_images(str(folder))
    assert {(r.image_id, r.reason) for r in result.rejects} == {
        ("broken", "unreadable-image"),
        ("empty", "unreadable-image"),
        ("cut", "unreadable-image"),
        ("ct0", "duplicate-image"),
    }
    assert len(result.images) == 3
    assert result.notes == ("1 files of the image folder are no DICOM images and were left out",)


def test_annotation_objects_of_the_folder_are_no_images(folder):
    ds = files.base("1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.200", "RTSTRUCT", "1.2.3.3")
    files.save(ds, folder / "rs.dcm")
    index = index_images(str(folder))
    assert (len(index.images), index.rejects) == (3, [])


def test_stems_that_repeat_give_way_to_uids(folder):
    files.save(files.ct_slice(7, series="1.2.3.8"), folder / "other" / "ct0.dcm")
    ids = index_images(str(folder)).image_ids
    assert ids == {
        (files.uid_of(7), 0): files.uid_of(7),
        (files.uid_of(0), 0): files.uid_of(0),
        (files.uid_of(1), 0): "ct1",
        (files.uid_of(2), 0): "ct2",
    }


def test_frames_of_a_multi_frame_file(folder):
    files.save(multi_frame(), folder / "mf" / "mf.dcm")
    index = index_images(str(folder))
    uid = files.uid_of(50)
    assert [index.image_ids[uid, i] for i in range(2)] == ["mf-0000", "mf-0001"]
    assert index.plane((uid, 1)).position_mm == (0, 0, 5)
    assert index.key(uid, 2) == (uid, 1)
    with pytest.raises(Refused, match="which of the 2 frames"):
        index.key(uid)
    with pytest.raises(Refused, match="no frame 3"):
        index.key(uid, 3)
    assert index.at(np.array([[0, 0, 5.4]]), "1.2.3.77") == (uid, 1)


def test_frames_that_do_not_add_up(folder):
    files.save(multi_frame(frames=3), folder / "mf.dcm")
    assert [r.reason for r in index_images(str(folder)).rejects] == ["unreadable-image"]


def test_the_slice_that_a_contour_lies_in(folder):
    index = index_images(str(folder))
    assert index.at(np.array([[0, 0, 107.4], [1, 1, 107.4]]), files.FRAME_OF_REFERENCE) == (files.uid_of(1), 0)
    for points, reference in (
        ([[0, 0, 114]], files.FRAME_OF_REFERENCE),
        ([[0, 0, 100], [0, 0, 110]], files.FRAME_OF_REFERENCE),
        ([[0, 0, 100]], "1.9"),
    ):
        with pytest.raises(Refused) as caught:
            index.at(np.array(points), reference)
        assert caught.value.reason == "no-image-entry"


def test_a_lone_slice_holds_what_is_within_half_a_pixel(tmp_path):
    files.save(files.ct_slice(0), tmp_path / "one.dcm")
    index = index_images(str(tmp_path))
    assert index.tolerance_mm((files.uid_of(0), 0)) == pytest.approx(1.0, abs=0.01)


def test_two_series_in_a_folder_are_no_volume(folder):
    files.save(files.ct_slice(7, series="1.2.3.8"), folder / "study" / "series" / "x.dcm")
    assert index_images(str(folder)).volume_folders == {}


def test_an_unknown_image_and_a_missing_folder(folder):
    with pytest.raises(Refused) as caught:
        index_images(str(folder)).key("1.9.9")
    assert caught.value.reason == "no-image-entry"
    with pytest.raises(UsageError, match="no such image folder"):
        index_images(str(folder / "none"))


def test_memory_file_system(folder):
    import fsspec

    fs = fsspec.filesystem("memory")
    for path in folder.rglob("*.dcm"):
        fs.pipe(f"/dicom-index/{path.name}", path.read_bytes())
    index = index_images("memory://dicom-index")
    assert [image.path for image in index.images.values()] == ["ct0.dcm", "ct1.dcm", "ct2.dcm"]
    assert index.volume_folders == {files.SERIES: "memory://dicom-index"}
