"""Storage on a local directory and on fsspec's in-memory object store."""

from __future__ import annotations

import hashlib
import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm import storage
from medclm.errors import MedclmError, UsageError

NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\x00", exclude_categories=["Cs", "Cc"]), min_size=1)
PART = NAME.filter(lambda name: name not in (".", "..") and "://" not in name)


@pytest.fixture(params=["local", "memory"])
def base(request, tmp_path):
    return str(tmp_path / "a [1] b") if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def test_written_bytes_are_read_back_and_listed(base):
    url = storage.join(base, "shards", "x.parquet")
    storage.write_atomic(url, b"one")
    storage.write_atomic(url, b"two")
    storage.write_atomic(storage.join(base, "shards/y.txt"), b"")
    assert storage.read_bytes(url) == b"two"
    assert storage.exists(url)
    assert not storage.exists(storage.join(base, "z"))
    assert [name.rpartition("/")[2] for name in storage.list_files(base, "shards/*")] == ["x.parquet", "y.txt"]
    assert [name.rpartition("/")[2] for name in storage.list_files(base, "**/*.parquet")] == ["x.parquet"]
    assert storage.list_files(base, "*") == []
    assert storage.list_files(storage.join(base, "none"), "*") == []


def test_listed_addresses_can_be_read(base):
    storage.write_atomic(storage.join(base, "x"), b"7")
    (listed,) = storage.list_files(base)
    assert storage.read_bytes(listed) == b"7"


def test_json_round_trip_and_equal_objects_give_equal_bytes(base):
    first, second = storage.join(base, "a.json"), storage.join(base, "b.json")
    storage.publish_json(first, {"b": [1, 2.5, None], "a": "ä"})
    storage.publish_json(second, {"a": "ä", "b": [1, 2.5, None]})
    assert storage.read_bytes(first) == storage.read_bytes(second)
    assert storage.read_json(first) == {"a": "ä", "b": [1, 2.5, None]}


def test_missing_and_broken_json_are_explained(base):
    url = storage.join(base, "manifest.json")
    with pytest.raises(MedclmError, match="does not exist"):
        storage.read_json(url)
    storage.write_atomic(url, b'{"rows": ')
    with pytest.raises(MedclmError, match="not JSON") as caught:
        storage.read_json(url)
    assert url in str(caught.value)


def test_crash_before_the_rename_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "manifest.json"
    storage.write_atomic(file, b"old")

    def crash(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        storage.write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert storage.list_files(tmp_path) == [str(file)]


def test_killed_writer_leaves_the_old_file(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_bytes(b"old")
    pid = os.fork()
    if pid == 0:
        os.replace = lambda *_args: os._exit(9)  # the process dies at the moment of the rename
        storage.write_atomic(file, b"new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert file.read_bytes() == b"old"
    assert storage.list_files(tmp_path) == [str(file)], "the temporary file is not listed"


def test_unwritable_place_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MedclmError, match="cannot be written"):
        storage.write_atomic(tmp_path / "file" / "below", b"x")


def test_unknown_protocol_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown protocol"):
        storage.exists("nosuch://bucket/key")


def test_object_store_addresses_resolve():
    fs, path = storage.open_fs("s3://bucket/a/b")
    assert (fs.protocol[0], path) == ("s3", "bucket/a/b")
    assert not storage.is_local("s3://bucket/a")
    assert storage.is_local("some/where")


@pytest.mark.parametrize(
    ("url", "parts", "expected"),
    [
        ("/data", ("a", "b"), "/data/a/b"),
        ("/data/", ("a",), "/data/a"),
        ("s3://bucket", ("a/b", "", "c"), "s3://bucket/a/b/c"),
        ("memory://", ("a",), "memory://a"),
        ("", ("a", "b"), "a/b"),
        ("/", ("a",), "/a"),
        ("gs://b/p", (), "gs://b/p"),
    ],
)
def test_join_examples(url, parts, expected):
    assert storage.join(url, *parts) == expected


@pytest.mark.parametrize("part", ["..", "../x", "a/../../x", "/etc", "s3://other/x"])
def test_join_refuses_to_leave(part):
    with pytest.raises(MedclmError, match="leaves its directory"):
        storage.join("s3://bucket/data", part)


@given(st.sampled_from(["/data", "s3://bucket", "memory://x/y"]), st.lists(PART, min_size=1, max_size=4))
def test_join_is_associative_and_stays_below(base_url, parts):
    whole = storage.join(base_url, *parts)
    assert (
        whole == storage.join(storage.join(base_url, parts[0]), *parts[1:]) == storage.join(base_url, "/".join(parts))
    )
    assert whole == "/".join([base_url, *parts])


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text(), st.lists(st.booleans()))))
def test_fingerprint_ignores_key_order(obj):
    assert storage.fingerprint(obj) == storage.fingerprint(dict(reversed(obj.items())))


def test_fingerprint_is_the_sha256_of_canonical_json():
    assert storage.fingerprint({"b": 1, "a": [True]}) == hashlib.sha256(b'{"a":[true],"b":1}').hexdigest()[:16]
    with pytest.raises(ValueError, match="JSON"):
        storage.fingerprint(float("nan"))


@pytest.mark.parametrize("root", ["{tmp}", "memory://remove"])
def test_a_removed_file_is_gone_and_its_neighbour_is_not(tmp_path, root):
    root = root.format(tmp=tmp_path)
    for name in ("a", "b"):
        storage.write_atomic(storage.join(root, name), b"x")
    storage.remove(storage.join(root, "a"))
    assert (storage.exists(storage.join(root, "a")), storage.exists(storage.join(root, "b"))) == (False, True)
