"""How an annotation's words for a file find the file; see medclm/data/readers/base.py."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medclm.data.readers.base import SPLITS, Listing, Refused, name_stem, stem


@pytest.fixture
def listing(tmp_path):
    for name in ("a.png", "x/1.png", "y/2.png", "z/3.jpg", "z/3.png", "1.2.840.99.dcm", "a.xml", "d/e/f.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"")
    return Listing(str(tmp_path), skip=(".xml",))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.png", "a.png"),
        ("a", "a.png"),
        ("./x/../a.png", "a.png"),
        ("1.png", "x/1.png"),
        ("1", "x/1.png"),
        ("x/1", "x/1.png"),
        ("old/x/1.png", "x/1.png"),
        ("old/a.png", "a.png"),
        ("C:\\old\\a.png", "a.png"),
        ("e/f.png", "d/e/f.png"),
        ("1.2.840.99", "1.2.840.99.dcm"),
        ("3.jpg", "z/3.jpg"),
    ],
)
def test_found(listing, name, path):
    assert listing.find(name) == path


@pytest.mark.parametrize(
    "name", ["b.png", "y/1.png", "old/y/1.png", "y/1", "e/1.png", "3", "1.2.840", "", "a.xml", "xx/1.png"]
)
def test_not_found(listing, name):
    with pytest.raises(Refused) as caught:
        listing.find(name)
    assert caught.value.reason == "missing-image"


PART = st.sampled_from(["a", "b", "ab", "a-b", "1"])
PATH = st.builds(lambda parts, end: "/".join(parts) + end, st.lists(PART, min_size=1, max_size=4), st.just(".png"))


@given(files=st.lists(PATH, min_size=1, max_size=6, unique=True), name=PATH, bare=st.booleans())
@example(files=["a-b/1.png", "a/1.png"], name="b/a/1.png", bare=False)
def test_what_a_name_means_by_the_rule(files, name, bare):
    name = name.removesuffix(".png") if bare else name
    listing = Listing.__new__(Listing)
    listing.files = sorted(files)

    def parts(path):
        return [*path.split("/")[:-1], stem(path)]

    def same_end(a, b):
        shorter = min(len(a), len(b))
        return a[-shorter:] == b[-shorter:]

    meant = [path for path in sorted(files) if same_end(parts(path), parts(name))]
    if name in files or len(meant) == 1:
        assert listing.find(name) == (name if name in files else meant[0])
    else:
        with pytest.raises(Refused):
            listing.find(name)


def test_skipped_files_are_not_listed(listing):
    assert "a.xml" not in listing.files
    assert len(listing.files) == 7


def test_stems_of_names():
    names = ("x/a.png", "a.DCM", "1.2.840.1", "scan.nii.gz", "x\\b.jpg", "v1.0")
    assert [name_stem(name) for name in names] == ["a", "a", "1.2.840.1", "scan", "b", "v1.0"]


def test_splits():
    assert {SPLITS[word] for word in ("val", "valid", "validation", "dev", "validate")} == {"validate"}
    assert (SPLITS["training"], SPLITS["test"]) == ("train", "test")
