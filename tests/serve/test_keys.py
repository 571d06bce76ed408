"""API keys: hashes in a file, names beside them, and nothing in the clear."""

from __future__ import annotations

import hashlib

import pytest

from medclm.errors import UsageError
from medclm.serve.guards import ApiError, check_key
from medclm.serve.keys import KEYS_VARIABLE, all_keys, keys_from_file, new_key


def test_a_new_key_is_accepted_from_its_line(tmp_path, monkeypatch):
    monkeypatch.setenv(KEYS_VARIABLE, " extra ,")
    (first, line), (second, other) = new_key("ward 7"), new_key("lab")
    file = tmp_path / "keys"
    file.write_text(f"# accepted\n\n{line}\n{other.upper().replace('LAB', 'lab')}\n")
    assert first not in file.read_text()
    hashes = all_keys(str(file))
    for key in (first, second, "extra"):
        check_key(f"Bearer {key}", hashes)
    for wrong in (first[:-1], first + "x", line.split()[0], ""):
        with pytest.raises(ApiError):
            check_key(f"Bearer {wrong}", hashes)


def test_broken_files(tmp_path):
    file = tmp_path / "keys"
    with pytest.raises(UsageError, match="does not exist"):
        keys_from_file(file)
    file.write_text("# none\n")
    with pytest.raises(UsageError, match="holds no key"):
        keys_from_file(file)
    secret = "medclm-in-the-clear"
    file.write_text(hashlib.sha256(b"x").hexdigest() + "\n" + secret + "\n")
    with pytest.raises(UsageError, match="keys:2") as caught:
        keys_from_file(file)
    assert secret not in str(caught.value)
