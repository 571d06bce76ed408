import hashlib
import zipfile

import pytest

from medclm.errors import MedclmError
from medclm.samples.wheels import Wheel, default_cache, fetch, member, members


def make_wheel(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/b.txt", "two")
        archive.writestr("pkg/a.txt", "one")
    return Wheel("no-such-package-medclm", "1.0", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_cached_wheel_with_the_right_hash_is_used(tmp_path):
    wheel = make_wheel(tmp_path / "x.whl")
    assert fetch(wheel, tmp_path) == tmp_path / "x.whl"


def test_a_damaged_wheel_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = make_wheel(tmp_path / "x.whl")
    (tmp_path / "x.whl").write_bytes(b"damaged")
    with pytest.raises(MedclmError, match=r"pip could not download no-such-package-medclm==1\.0") as error:
        fetch(wheel, tmp_path)
    assert "MEDCLM_CACHE" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["x.whl"]


def test_members_come_in_order_and_one_is_one(tmp_path):
    make_wheel(tmp_path / "x.whl")
    assert members(tmp_path / "x.whl", ".txt") == {"pkg/a.txt": b"one", "pkg/b.txt": b"two"}
    assert member(tmp_path / "x.whl", "b.txt") == b"two"
    with pytest.raises(MedclmError, match="does not hold"):
        member(tmp_path / "x.whl", ".txt")


def test_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDCLM_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
