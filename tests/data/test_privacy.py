"""Pseudonyms: nothing planted comes through, references still hold, and the key decides."""

from __future__ import annotations

import hashlib
import hmac

import pydicom
import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.data.privacy import (
    Pseudonyms,
    key_check,
    keyed_hash,
    load_key,
    own_key_path,
    pseudonymise,
    pseudonymise_reject,
)
from medclm.data.records import Finding, Prior, Question, Record, Source, Step
from medclm.data.rejects import Reject
from medclm.errors import MedclmError, UsageError

KEY = b"0123456789abcdef"
PATIENT, STUDY = "DOE^JANE", "1.2.826.0.1.19700101"
IMAGE = "DOE^JANE_19700101_PA"
URI = "/export/ward7/DOE^JANE/19700101/DOE^JANE_19700101_PA.nii.gz"
PLANTED = ("doe", "jane", "19700101", "ward7", "1.2.826", "smith")


def planted_record() -> Record:
    box = (1.0, 1.0, 4.0, 4.0)
    finding = Finding(
        id=f"{IMAGE}:1", label="nodule", label_raw="Nodule of Doe^Jane", box_xyxy=box,
        attributes={"comment": f"seen in study {STUDY}", "margin": "smooth"},
    )  # fmt: skip
    question = Question(
        id=f"{IMAGE}:q1", type="what", question=f"What is in {IMAGE}?", answer="nodule", closed=False,
        choices=("nodule", "DOE^JANE"), finding_ids=(finding.id,),
        reasoning=(Step(step="seed", text="DOE^JANE has a nodule in the left lung.", box_xyxy=box),),
    )  # fmt: skip
    prior = Prior(image_id="SMITH_19700101", uri="/export/ward7/SMITH.dcm", findings=(finding,), days=3)
    return Record(
        image_id=IMAGE, patient_id=PATIENT, study_id=STUDY, dataset="toy", split="train",
        source=Source(uri=URI, reader="coco", sha256="ab", volume="/export/ward7/DOE^JANE"), labels=("cyst", PATIENT),
        findings=(finding,), prior=prior, questions=(question,),
    )  # fmt: skip


def test_nothing_planted_comes_through():
    hidden = pseudonymise(planted_record(), KEY)
    text = hidden.model_dump_json().lower()
    assert [word for word in PLANTED if word in text] == []
    assert "has a nodule in the left lung." in hidden.questions[0].reasoning[0].text
    assert hidden.findings[0].attributes["margin"] == "smooth"


def test_references_hold():
    hidden = pseudonymise(planted_record(), KEY)
    image = "i" + keyed_hash(IMAGE, KEY)
    assert hidden.patient_id == "p" + keyed_hash(PATIENT, KEY)
    assert hidden.study_id == "s" + keyed_hash(STUDY, KEY)
    assert hidden.image_id == image
    assert hidden.findings[0].id == hidden.questions[0].finding_ids[0] == f"{image}:1"
    assert hidden.questions[0].id == f"{image}:q1"
    assert hidden.source.uri == f"f{keyed_hash(URI, KEY)}.nii.gz"
    assert hidden.source.sha256 == "ab"


def test_a_prior_keeps_pointing_at_its_image():
    now = planted_record()
    then = now.model_copy(update={"image_id": now.prior.image_id, "prior": None, "study_id": now.prior.image_id})
    assert pseudonymise(now, KEY).prior.image_id == pseudonymise(then, KEY).image_id


def test_image_ids_can_stay_but_not_the_ids_in_them():
    one = planted_record().model_copy(update={"patient_id": "7", "study_id": "", "image_id": "scan_7_of_17"})
    one = one.model_copy(update={"findings": (), "questions": (), "prior": None})
    assert pseudonymise(one, KEY, hash_image_ids=False).image_id == f"scan_p{keyed_hash('7', KEY)}_of_17"


def test_letters_that_are_equal_but_for_case_in_unicode():
    names = Pseudonyms(KEY)
    patient = names.patient("Weiſs-ſ")  # a long s is an s to a search that ignores case
    assert names.id("WEISS-S x") == f"{patient} x"


def test_a_number_inside_an_image_id_does_not_stay():
    names = Pseudonyms(KEY, hash_image_ids=False)
    patient = names.patient("345678")
    assert names.image("scan345678a") == f"scan{patient}a"


def test_ids_that_are_words_of_anatomy_do_not_change_texts():
    finding = Finding(id="left:1", label="nodule", label_raw="Nodule", box_xyxy=(0, 0, 1, 1))
    question = Question(id="left:q", type="side", question="Which side?", answer="left", closed=False)
    record = Record(
        image_id="left", patient_id="chest", dataset="toy", source=Source(uri="a/left.png", reader="coco"),
        findings=(finding,), questions=(question,),
    )  # fmt: skip
    hidden = pseudonymise(record, KEY)
    assert (hidden.questions[0].question, hidden.questions[0].answer) == ("Which side?", "left")
    assert hidden.questions[0].id == f"i{keyed_hash('left', KEY)}:q"


def test_short_ids_do_not_change_texts():
    question = Question(id="1:q", type="how-many", question="How many? 1 or 2", answer="1", closed=False)
    record = Record(
        image_id="1", patient_id="1", study_id="2024", dataset="toy", source=Source(uri="1.png", reader="coco"),
        questions=(question, question.model_copy(update={"id": "1:r", "answer": "20240 mm, study 2024"})),
    )  # fmt: skip
    one, other = pseudonymise(record, KEY).questions
    assert (one.question, one.answer) == ("How many? 1 or 2", "1")
    assert one.id.endswith(":q")
    assert not one.id.startswith("1")
    assert other.answer == f"20240 mm, study s{keyed_hash('2024', KEY)}"


def test_ids_of_a_real_dicom_header_do_not_come_through():
    path = pydicom.data.get_testdata_file("CT_small.dcm")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    record = Record(
        image_id=str(header.SOPInstanceUID), patient_id=str(header.PatientID), study_id=str(header.StudyInstanceUID),
        dataset="toy", source=Source(uri=path, reader="coco"),
    )  # fmt: skip
    text = pseudonymise(record, KEY).model_dump_json()
    for value in (header.PatientID, header.StudyInstanceUID, header.SOPInstanceUID, "CT_small"):
        assert str(value) not in text


def test_rejects_keep_their_reason_and_nothing_else_of_the_patient():
    record = planted_record()
    reject = Reject(
        image_id=IMAGE, where=URI, reason="missing-image", detail=f"no file {URI} for {PATIENT}, 3 bytes",
        finding_id=f"{IMAGE}:1", question=record.questions[0],
    )  # fmt: skip
    for known in (record, None):
        hidden = pseudonymise_reject(
            reject.model_copy(update={"question": None}) if known is None else reject, KEY, known
        )
        assert hidden.reason == "missing-image"
        assert hidden.image_id == "i" + keyed_hash(IMAGE, KEY)
        assert hidden.finding_id == f"{hidden.image_id}:1"
        left = hidden.model_dump_json().lower()
        assert [word for word in PLANTED if word in left and (known or word not in ("doe", "jane"))] == []
    annotation = Reject(image_id="x", where="a.json: annotations[12]", reason="bad-box", detail="x1 > x2 in scan1.dcm")
    hidden = pseudonymise_reject(annotation, KEY)
    assert (hidden.where, hidden.detail) == (annotation.where, f"x1 > x2 in f{keyed_hash('scan1.dcm', KEY)}")


def test_keyed_hash_is_hmac_sha256():
    assert keyed_hash("DOE", KEY) == hmac.new(KEY, b"DOE", hashlib.sha256).hexdigest()[:20]
    assert keyed_hash("DOE", KEY) != keyed_hash("DOE", KEY + b"x") != keyed_hash("ROE", KEY + b"x")


@given(st.text(min_size=1, max_size=12).filter(lambda raw: "/" not in raw), st.text(max_size=40))
def test_no_long_id_is_left_in_a_text_of_ids(raw, around):
    names = Pseudonyms(KEY)
    new = names.patient(raw)
    seen = names.id(around + "/" + raw + "/" + around).split("/")
    assert new in seen
    if len(raw) >= 4 and raw.isascii():
        assert raw.lower() not in names.id(around + raw).lower().replace(new, "")


def test_the_key_comes_from_the_variable_the_file_or_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDCLM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "site.key"
    file.write_text("a key for the whole site\n")
    assert load_key(file, {"MEDCLM_ID_KEY": "from the environment"}) == b"from the environment"
    assert load_key(file, {}) == b"a key for the whole site"
    own = load_key(None, {})
    assert len(own) == 64
    assert load_key(None, {}) == own  # a resumed build
    assert own_key_path().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in own_key_path().parent.iterdir()] == ["id.key"]
    assert key_check(own) == key_check(own) != key_check(KEY)


def test_short_and_missing_keys_are_refused(tmp_path):
    with pytest.raises(UsageError, match="too short"):
        load_key(None, {"MEDCLM_ID_KEY": "secret"})
    with pytest.raises(MedclmError, match="does not exist"):
        load_key(tmp_path / "none.key", {})
