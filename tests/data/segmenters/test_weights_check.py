from __future__ import annotations

import pytest

from medclm.data.segmenters import check_segmenter, make_segmenter
from medclm.data.segmenters.weights_check import need_package, need_weights
from medclm.errors import UsageError

EXTRAS = {"torchxrayvision": "torchxrayvision", "totalsegmentator": "totalsegmentator", "cxas": "cxas"}


def test_what_is_there_passes(tmp_path):
    (tmp_path / "weights").write_bytes(b"1")
    assert need_package("x", "numpy", "pip install numpy") is None
    assert need_weights("x", tmp_path / "weights", "fetch") is None
    assert need_weights("x", tmp_path, "fetch") is None


def test_what_is_missing_names_the_command(tmp_path):
    with pytest.raises(UsageError, match="pip install nothing") as caught:
        need_package("x", "no_such_package_of_medclm", "pip install nothing")
    assert caught.value.exit_code == 2
    for path in (tmp_path / "none", tmp_path):  # no file; a folder with nothing in it
        with pytest.raises(UsageError, match="fetch them") as caught:
            need_weights("x", path, "fetch them")
        assert caught.value.details["where"] == path


@pytest.mark.parametrize("name", EXTRAS)
def test_extras_say_what_they_need(name, tmp_path, monkeypatch):
    """An empty package of that name, and no weights: the file and the command are named, and nothing is imported."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for variable in ("HOME", "CXAS_PATH", "TOTALSEG_HOME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    for fails in (check_segmenter, make_segmenter):
        with pytest.raises(UsageError, match="needs network") as caught:
            fails(name)
        assert str(caught.value.details["where"]).startswith(str(tmp_path / "home"))


@pytest.mark.parametrize("spec", ["torchxrayvision:x", "cxas:x", "totalsegmentator:slow"])
def test_arguments_that_an_extra_does_not_take(spec):
    with pytest.raises(UsageError, match=r"takes no argument|no such mode"):
        check_segmenter(spec)
