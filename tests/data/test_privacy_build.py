"""The whole build over DICOM files with names, dates and ids planted in headers, file entries and text elements."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from medclm.config import BuildConfig
from medclm.data import pipeline, shards
from medclm.data.leaks import scan_for_leaks
from medclm.data.preview import write_preview
from medclm.data.report import build_report
from medclm.errors import UsageError
from medclm.samples.phantom import write_phantom

PLANTED = ["Quimby", "MRN-448812", "19610704", "ACC-55120", "Saint Nowhere", "1.2.826.0.1.3680043.2.55"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    """Six phantoms whose headers say who the patient is; one has Burned In Annotation, one a broken file."""
    root = tmp_path_factory.mktemp("planted")
    write_phantom(root, 6, seed=8, size=64)
    document = json.loads((root / "annotations.json").read_text())
    for number, entry in enumerate(document["images"]):
        path = root / "images" / entry["file_name"]
        ds = pydicom.dcmread(path)
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Quimby^Joe", "MRN-448812", "19610704"
        ds.AccessionNumber, ds.InstitutionName, ds.StudyDate = "ACC-55120", "Saint Nowhere", "19610704"
        ds.ImageComments = "Joe Quimby, seen at Saint Nowhere"
        ds.BurnedInAnnotation = "YES" if number == 1 else "NO"
        ds.save_as(path)
        entry |= {"patient_id": "MRN-448812", "study_id": f"1.2.826.0.1.3680043.2.55.{number}"}
    broken = root / "images" / document["images"][0]["file_name"]
    broken.write_bytes(broken.read_bytes()[:2000])
    (root / "annotations.json").write_text(json.dumps(document))
    return root


def config(root: Path, out: Path, **more) -> BuildConfig:
    return BuildConfig(
        images=f"{root}/images", annotations=f"{root}/annotations.json", segmenter=f"masks:{root}/masks", out=str(out),
        dataset="planted", max_failed_share=0.5, **more,
    )  # fmt: skip


@pytest.fixture
def key(monkeypatch) -> None:
    monkeypatch.setenv("MEDCLM_ID_KEY", "a key of sixteen bytes or more")


@pytest.fixture(scope="module")
def built(ray_cluster, planted, tmp_path_factory) -> tuple[Path, dict]:
    """Built with the key of the fixture ``key``."""
    out = tmp_path_factory.mktemp("planted-built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDCLM_ID_KEY", "a key of sixteen bytes or more")
        return out, pipeline.build(config(planted, out))


def test_nothing_planted_is_in_the_output(built):
    out, manifest = built
    build_report(out)
    write_preview(out, out / "preview.html")
    assert scan_for_leaks(out, PLANTED) == []
    assert (manifest["rows"], manifest["rejected"]) == (4, {"burned-in-text": 1, "unreadable-image": 1})
    patients = {record.patient_id for record in shards.read_records(str(out))}
    assert len(patients) == 1
    assert patients.pop().startswith("p")


def test_ids_stay_when_that_is_asked_for_and_burned_in_text_too(ray_cluster, planted, tmp_path):
    out = tmp_path / "built"
    assert pipeline.build(config(planted, out, ids="keep", text_overlay="keep"))["rows"] == 5
    leaks = scan_for_leaks(out, PLANTED)
    assert {leak.planted for leak in leaks} == {"MRN-448812", "1.2.826.0.1.3680043.2.55"}


def test_the_same_key_gives_the_same_ids_and_another_key_is_refused(built, key, planted, tmp_path, monkeypatch):
    first, manifest = built
    assert pipeline.build(config(planted, tmp_path / "b"))["content_hash"] == manifest["content_hash"]
    monkeypatch.setenv("MEDCLM_ID_KEY", "another key of sixteen bytes")
    with pytest.raises(UsageError, match="another build"):
        pipeline.build(config(planted, first))
