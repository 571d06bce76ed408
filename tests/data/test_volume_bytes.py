"""What the files of volumes have in common."""

from __future__ import annotations

import gzip
import zlib

import pytest

from medclm.data.volume_bytes import inflated, sibling, three_axes
from medclm.errors import MedclmError


def test_the_first_bytes_of_any_file():
    assert inflated(b"plain", 3) == b"pla"
    two = gzip.compress(b"ab") + gzip.compress(b"cd")
    assert (inflated(two, 3), inflated(two, 9)) == (b"abc", b"abcd")


def test_a_beginning_is_enough_unless_the_whole_is_asked_for():
    cut = gzip.compress(bytes(range(200)))[:-12]
    assert bytes(range(200)).startswith(inflated(cut, 500))
    with pytest.raises(EOFError, match="cut off"):
        inflated(cut, 500, whole=True)
    damaged = bytearray(gzip.compress(b"a" * 99, 0))
    damaged[-6] ^= 1  # its check sum
    with pytest.raises(zlib.error):
        inflated(bytes(damaged), 500, whole=True)


def test_three_axes():
    assert three_axes((4, 3, 2)) == (4, 3, 2)
    assert three_axes((4, 3)) == (4, 3, 1)
    assert three_axes((4, 3, 2, 1, 1)) == (4, 3, 2)
    with pytest.raises(MedclmError, match="not one volume") as caught:
        three_axes((4, 3, 2, 5))
    assert caught.value.details["got"] == "4 x 3 x 2 x 5"


def test_a_file_beside(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"voxels")
    assert sibling(str(tmp_path / "a.mhd"), "a.raw") == b"voxels"
    for where, name in ((str(tmp_path / "a.mhd"), "../a.raw"), ("", "a.raw")):
        with pytest.raises(MedclmError, match="nor in one file beside it"):
            sibling(where, name)
