"""Answers as TID 1500 reports: highdicom and this package's own reader read back what was said."""

from __future__ import annotations

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydicom import dcmread
from pydicom.data import get_testdata_file

from medclm.data.readers.dicom_sr import read_sr
from medclm.data.records import Step
from medclm.serve.api import Limits, make_api
from medclm.serve.dicom_sr import dicom_sr, finding_code, organ_code
from medclm.serve.guards import ApiError
from medclm.serve.predictor import Prediction
from tests.serve.local import Local

BOX = (20.0, 30.5, 44.0, 60.0)


def said(*steps: Step, answer: str = "left upper lobe") -> Prediction:
    return Prediction("…", answer, 0.5, steps, True)


@pytest.fixture(scope="module")
def ct() -> bytes:
    with open(get_testdata_file("CT_small.dcm"), "rb") as file:
        return file.read()


FOUND = said(
    Step(step="organ", text="The left upper lobe is here.", box_xyxy=(5.0, 5.0, 60.0, 90.0)),
    Step(step="seed", text="There is a nodule in the left upper lobe.", box_xyxy=BOX),
)


def groups(report: bytes):
    from highdicom.sr import ComprehensiveSR

    document = ComprehensiveSR.from_dataset(dcmread(io.BytesIO(report)))
    return document, document.content.get_planar_roi_measurement_groups()


def test_highdicom_reads_finding_site_and_box(ct):
    document, found = groups(dicom_sr(ct, FOUND, "Where?", "medclm 0123"))
    assert len(found) == 1
    assert found[0].finding_type.meaning == "nodule"
    site = found[0].finding_sites[0]
    assert site.value.meaning == "left upper lobe"
    assert site.laterality.meaning == "Left"
    corners = np.asarray(found[0].roi.value)
    x1, y1, x2, y2 = BOX
    np.testing.assert_array_equal(corners, [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])
    image = dcmread(io.BytesIO(ct), stop_before_pixels=True)
    assert document.PatientID == image.PatientID
    assert document.StudyInstanceUID == image.StudyInstanceUID
    assert document.SOPClassUID.name == "Comprehensive SR Storage"
    assert document.CompletionFlag == "PARTIAL"
    assert document.VerificationFlag == "UNVERIFIED"


def test_our_own_reader_reads_it_back(ct, tmp_path):
    for name, data in (("images/ct.dcm", ct), ("reports/sr.dcm", dicom_sr(ct, FOUND, "Where?", "medclm 0123"))):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
    result = read_sr(str(tmp_path / "images"), str(tmp_path / "reports"), "back")
    (record,) = result.records
    (finding,) = record.findings
    assert finding.label == "nodule"
    assert finding.box_xyxy == pytest.approx(BOX, abs=1)
    assert finding.attributes["finding_site"] == "Left left upper lobe"


def test_an_answer_without_a_box_is_a_group_without_a_region(ct):
    document, planar = groups(dicom_sr(ct, said(answer="no pneumothorax"), "Is there one?", "medclm 0123"))
    assert not planar
    (group,) = document.content.get_image_measurement_groups()
    assert group.finding_type.meaning == "pneumothorax"


def test_codes():
    assert [c.value for c in organ_code("lungs") if c] == ["39607008"]
    location, side = organ_code("left_upper_lobe")
    assert location.meaning == "left upper lobe"
    assert side.value == "7771000"
    for text in ("nodule", "a very long finding that nobody has a code for " * 3):
        code = finding_code(text)
        assert len(code.value) <= 16
        assert code.scheme_designator == "99MEDCLM"


def test_what_is_no_dicom_image_is_refused(ct):
    dataset = dcmread(io.BytesIO(ct))
    del dataset.StudyInstanceUID
    out = io.BytesIO()
    dataset.save_as(out)
    with pytest.raises(ApiError, match="StudyInstanceUID"):
        dicom_sr(out.getvalue(), FOUND, "Where?", "medclm 0123")


def test_over_http(predictor, ct):
    client = TestClient(make_api(Local(predictor), Limits(name="tiny", max_new_tokens=8)))
    form = {"question": "Is there a nodule?", "mode": "answer"}
    response = client.post("/v1/predict", params={"format": "dicom-sr"}, files={"file": ct}, data=form)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom"
    document, _ = groups(response.content)
    assert document.Modality == "SR"
