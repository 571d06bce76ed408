"""Findings gathered picture by picture, and the records made of them."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data import readers
from medclm.data.readers.base import Refused
from medclm.data.readers.dicom_index import index_images
from medclm.data.readers.dicom_records import Gathered, annotation_objects, attribute_name, code_text, patterns
from tests.data.readers import dicom_files as files
from tests.data.readers.dicom_files import item, rows_of


@pytest.fixture
def gathered(tmp_path):
    files.write_series(tmp_path / "images")
    return Gathered(index_images(str(tmp_path / "images")), "toy-reader")


KEYS = [(files.uid_of(k), 0) for k in range(3)]


def test_a_finding_by_mask_and_one_by_box(gathered):
    gathered.add(KEYS[0], "nodule", "a.dcm", rows_of(".## .##"), attributes={"n": 1, "none": None})
    gathered.add(KEYS[0], "mass", "a.dcm", box_xyxy=(1.5, 2, 3, 4))
    gathered.add(KEYS[0], "mass", "a.dcm", np.zeros((8, 10), bool))
    result = gathered.result("toy", only_annotated=False, complete=False)
    first = result.records[0]
    assert [(f.id, f.box_xyxy, f.mask_rle is None) for f in first.findings] == [
        ("ct0:1", (1, 0, 3, 2), False),
        ("ct0:2", (1.5, 2, 3, 4), True),
    ]
    assert first.findings[0].attributes == {"n": "1"}
    assert [(r.reason, r.image_id, r.finding_id) for r in result.rejects] == [("no-geometry", "ct0", "ct0:a.dcm")]
    assert result.incomplete == {"ct0", "ct1", "ct2"}


def test_what_counts_as_complete(gathered):
    gathered.covered.update(KEYS)
    gathered.lose("a.dcm", Refused("bad-box", "x"), KEYS[1])
    gathered.lose("a.dcm", Refused("no-image-entry", "x"), image_id="1.9.9")
    result = gathered.result("toy", only_annotated=True, complete=False)
    assert [record.image_id for record in result.records] == ["ct1"]  # a lost finding is not the same as none
    assert result.incomplete == {"ct1"}
    assert [(r.image_id, r.finding_id) for r in result.rejects] == [("ct1", "ct1:a.dcm"), ("1.9.9", None)]
    assert gathered.result("toy", only_annotated=False, complete=True).incomplete == {"ct1"}


def test_masks_of_one_organ_are_united(gathered):
    gathered.add_organ(KEYS[2], "liver", rows_of("##"))
    gathered.add_organ(KEYS[2], "liver", rows_of(".##"))
    gathered.add_organ(KEYS[2], "spleen", rows_of("."))
    (organ,) = gathered.result("toy", False, False).records[2].organs
    assert (organ.name, organ.side, organ.area_px, organ.box_xyxy) == ("liver", "right", 3, (0, 0, 3, 1))
    assert organ.source == "toy-reader"


def test_faults_of_a_dataset_are_set_aside_and_faults_of_the_program_are_not(gathered):
    with gathered.guarded("a.dcm", KEYS[0]):
        item().ContourData  # noqa: B018 - an attribute that is missing
    assert [(r.reason, r.image_id) for r in gathered.rejects] == [("bad-annotation", "ct0")]
    with pytest.raises(ZeroDivisionError), gathered.guarded("a.dcm"):
        1 / 0  # noqa: B018


def test_objects_of_a_folder_one_at_a_time(gathered, tmp_path):
    for n in (1, 2):
        ds = files.base("1.2.840.10008.5.1.4.1.1.88.33", f"1.2.3.80{n}", "SR", "1.2.3.8")
        files.save(ds, tmp_path / "all" / f"{n}" / "sr.dcm")
    files.save(files.ct_slice(0), tmp_path / "all" / "ct.dcm")
    found = annotation_objects(str(tmp_path / "all"), "SR", gathered)
    assert [(name, str(ds.SOPInstanceUID)) for name, ds in found] == [
        ("1/sr.dcm", "1.2.3.801"),
        ("2/sr.dcm", "1.2.3.802"),
    ]


def test_annotations_from_memory(gathered):
    import io

    import fsspec

    ds, data = files.base("1.2.840.10008.5.1.4.1.1.88.33", "1.2.3.801", "SR", "1.2.3.8"), io.BytesIO()
    ds.save_as(data, enforce_file_format=True)
    fsspec.filesystem("memory").pipe("/dicom-records/a/sr.dcm", data.getvalue())
    for address in ("memory://dicom-records", "memory://dicom-records/a/sr.dcm"):
        assert len(list(annotation_objects(address, "SR", gathered))) == 1


def test_small_things():
    assert attribute_name("Long Axis (mean)") == "long_axis_mean"
    assert patterns("GTV*, Lung ") == ("gtv*", "lung") == patterns(["GTV*", "lung"])
    assert patterns("") == ()
    assert code_text([item(CodeValue="1", CodeMeaning=" Liver ")]) == "Liver"
    assert code_text(None) == ""


@pytest.mark.parametrize("name", ["dicom-seg", "dicom-sr", "rtstruct", "gsps"])
def test_the_formats_are_there(name, tmp_path):
    from medclm.errors import UsageError

    files.write_series(tmp_path)
    with pytest.raises(UsageError, match="no DICOM object of modality"):
        readers.read(name, str(tmp_path), str(tmp_path), "toy", {"only_annotated": True})
    with pytest.raises(UsageError, match="no option"):
        readers.read(name, str(tmp_path), str(tmp_path), "toy", {"nonsense": 1})
