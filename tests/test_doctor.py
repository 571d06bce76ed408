"""The diagnosis, on this machine and on made-up faults."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json

import pytest

from medclm import doctor, doctor_packages, raycluster
from medclm.data.segmenters import unet


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in raycluster.ADDRESS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(raycluster, "DEFAULT_ADDRESS", "http://127.0.0.1:9")
    checks = {check.name: check for check in doctor.diagnose(storage=str(tmp_path)).checks}
    for name in ("python", *doctor.VERSIONED, "cpu", "ray cluster", "storage"):
        assert checks[name].status == "ok", checks[name]
    assert importlib.metadata.version("torch") in checks["torch"].detail
    assert set(doctor.OPTIONAL) <= set(checks)
    assert all(check.remedy for check in checks.values() if check.status == "fail")
    assert list(tmp_path.iterdir()) == [], "the storage test cleans up"


def test_a_cluster_that_was_asked_for_must_answer():
    (check,), nodes = doctor._ray("http://127.0.0.1:9", None)
    assert nodes == []
    assert check.status == "fail"
    assert "127.0.0.1:9" in check.detail


def test_storage_in_an_object_store_and_on_a_place_that_refuses(tmp_path):
    assert doctor._storage("memory://doctor").status == "ok"
    (tmp_path / "file").write_text("")
    check = doctor._storage(str(tmp_path / "file"))
    assert (check.status, bool(check.remedy)) == ("fail", True)
    assert doctor._storage("nosuch://x").status == "fail"


def test_version_outside_the_range_fails(monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.61.0" if name == "ray" else real(name))
    check = doctor_packages.package("ray")
    assert (check.status, "2.61.0" in check.detail, ">=2.60" in check.remedy) == ("fail", True, True)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.60.5" if name == "ray" else real(name))
    assert doctor_packages.package("ray").status == "ok"


def test_optional_package_with_and_without_weights(monkeypatch, tmp_path):
    assert doctor_packages.extra("cxas").status == "warn"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    monkeypatch.setenv("CXAS_PATH", str(tmp_path))
    check = doctor_packages.extra("cxas")
    assert (check.status, str(tmp_path / ".cxas/weights") in check.detail) == ("warn", True)
    (tmp_path / ".cxas/weights").mkdir(parents=True)
    (tmp_path / ".cxas/weights/net.pth").write_bytes(b"1")
    assert doctor_packages.extra("cxas").status == "ok"


def test_shipped_weights_are_hashed(monkeypatch, tmp_path):
    stem = tmp_path / "net"
    monkeypatch.setattr(unet, "SHIPPED", {"net": stem})
    assert doctor._shipped_weights().status == "fail"
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    (tmp_path / "net.json").write_text(json.dumps({"sha256": hashlib.sha256(b"weights").hexdigest()}))
    assert doctor._shipped_weights().status == "ok"
    (tmp_path / "net.safetensors").write_bytes(b"changed")
    assert "not the file that was shipped" in doctor._shipped_weights().detail


def test_small_shared_memory_is_a_warning(tmp_path):
    assert doctor._shared_memory(tmp_path / "none").status == "warn"


def test_table_has_80_columns_and_json_says_the_same(capsys):
    checks = [doctor.Check("storage", "fail", "x" * 200, "do this"), doctor.Check("cpu", "ok", "2 cores", "not shown")]
    found = doctor.Diagnosis(checks, [])
    doctor.render(found)
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) == 80
    assert "-> do this" in text
    assert "not shown" not in text
    assert text.count("x") == 200
    document = json.loads(json.dumps(doctor.as_json(found)))
    assert document["ok"] is False
    assert document["checks"][1] == {"name": "cpu", "status": "ok", "detail": "2 cores", "remedy": "not shown"}
