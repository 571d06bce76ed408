"""Rows of CSV files."""

from __future__ import annotations

import gzip

import pytest

from medclm.data.readers.base import Refused
from medclm.data.readers.rows import read_header, read_rows
from medclm.errors import MedclmError


def test_rows(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffname, box ,note\r\na,"1, 2.5",\r\n\r\n b ,nan,"x, ""y"""\r\nc\r\n'.encode())
    rows = list(read_rows(str(path), ("name", "", "box")))
    assert [(row.where, row.index) for row in rows] == [("a.csv: row 1", 1), ("a.csv: row 2", 2), ("a.csv: row 3", 3)]
    assert [row.text("name") for row in rows] == ["a", "b", "c"]
    assert rows[0].numbers("box", 2) == [1, 2.5]
    assert (rows[1].text("box"), rows[1].text("note"), rows[1].text("")) == ("", 'x, "y"', "")
    with pytest.raises(Refused, match="ends before column 'box'") as caught:
        rows[2].text("box")
    assert caught.value.reason == "bad-row"
    for fault in (lambda: rows[1].number("box"), lambda: rows[0].numbers("box", 3), lambda: rows[0].number("name")):
        with pytest.raises(Refused) as caught:
            fault()
        assert caught.value.reason == "bad-box"
    assert read_header(str(path)) == ["name", "box", "note"]


def test_compressed_and_other_delimiters(tmp_path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"a\tb\n1\t2\n"))
    assert [row.cells for row in read_rows(str(path), ("a", "b"), "\t")] == [{"a": "1", "b": "2"}]


def test_a_missing_column_names_what_is_there(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,\n1,2,\n")
    with pytest.raises(MedclmError, match="lacks the columns 'c', 'd'") as caught:
        list(read_rows(str(path), ("a", "c", "d")))
    assert caught.value.details["expected"] == "a, c, d"
    assert caught.value.details["got"] == "a, b"
    path.write_text("")
    with pytest.raises(MedclmError, match="lacks the column 'a'"):
        list(read_rows(str(path), ("a",)))


@pytest.mark.parametrize(
    ("name", "data"), [("a.csv", b"a\n\xff\n"), ("a.csv.gz", b"a\n1\n"), ("a.csv", b"a\n" + b"1" * 200_000)]
)
def test_no_table(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MedclmError, match="not a CSV table"):
        list(read_rows(str(tmp_path / name), ("a",)))


def test_no_file(tmp_path):
    with pytest.raises(MedclmError, match="does not exist"):
        list(read_rows(str(tmp_path / "a.csv"), ("a",)))
