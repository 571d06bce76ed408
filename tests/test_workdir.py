"""Which files travel with a job."""

from __future__ import annotations

import subprocess

import pytest

from medclm import workdir
from medclm.errors import MedclmError, UsageError


def write(root, **files):
    for name, data in files.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def paths(root):
    return [entry.path for entry in workdir.collect(root) if not entry.path.startswith("medclm/")]


def test_git_checkout_sends_tracked_and_new_files_but_no_ignored_ones(tmp_path):
    write(
        tmp_path,
        DOTgitignore=b"*.log\nout/\n",
        kept=b"1",
        gone=b"2",
        aDOTlog=b"3",
        out__x=b"4",
        new__y=b"5",
        bDOTlog=b"6",
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-f", "kept", "gone", "a.log"], cwd=tmp_path, check=True)
    (tmp_path / "gone").unlink()
    assert paths(tmp_path) == ["a.log", "kept", "new/y"], "a tracked file travels although .gitignore names it"


def test_ignore_files_of_subfolders_count_in_a_checkout_and_elsewhere(tmp_path):
    write(tmp_path, DOTgitignore=b"*.log\n", a=b"1", bDOTlog=b"2", sub__DOTgitignore=b"/big\n!keep.log\n")
    write(tmp_path, sub__big=b"3", sub__keepDOTlog=b"4", sub__deep__big=b"5", sub__DOThidden=b"6")
    assert paths(tmp_path) == ["a", "sub/deep/big", "sub/keep.log"]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert paths(tmp_path) == ["a", "sub/.hidden", "sub/deep/big", "sub/keep.log"]


def test_elsewhere_hidden_folders_caches_and_environments_stay(tmp_path):
    write(tmp_path, a=b"1", b__c=b"2", DOThidden__x=b"3", __pycache____y=b"4", py__pyvenvDOTcfg=b"5", py__lib__z=b"6")
    (tmp_path / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "__pycache__" / "y.pyc").write_bytes(b"4")
    assert [name for name in paths(tmp_path) if "pycache" not in name.split("/")[0]] == ["a", "b/c"]
    assert not any(name.startswith("__pycache__") for name in paths(tmp_path))


def test_the_package_travels_when_the_directory_has_none(tmp_path):
    found = {entry.path: entry for entry in workdir.collect(tmp_path)}
    assert "medclm/errors.py" in found
    assert "medclm/data/organs.yaml" in found
    assert not any(path.endswith(".pyc") for path in found)
    copy = workdir.stage(list(found.values()), tmp_path / "copy")
    assert (copy / "medclm/errors.py").read_bytes() == found["medclm/errors.py"].source.read_bytes()


def test_a_directory_with_the_package_sends_its_own(tmp_path):
    write(tmp_path, medclm__cliDOTpy=b"pass")
    assert [entry.path for entry in workdir.collect(tmp_path)] == ["medclm/cli.py"]


def test_another_folder_of_that_name_is_refused(tmp_path):
    write(tmp_path, medclm__notesDOTtxt=b"")
    with pytest.raises(UsageError, match="not the package"):
        workdir.collect(tmp_path)


def test_too_big_names_the_biggest_files(tmp_path):
    entries = [workdir.Entry(f"f{n}", tmp_path, n * 2**20) for n in range(1, 8)]
    workdir.check_size(entries, 28)
    with pytest.raises(MedclmError) as caught:
        workdir.check_size(entries, 27.9)
    assert caught.value.exit_code == 2
    assert "28.0 MiB; the biggest: f7 (7.0 MiB), f6 (6.0 MiB), f5 (5.0 MiB), f4 (4.0 MiB), f3 (3.0 MiB)" in str(
        caught.value
    )


def test_staging_replaces_what_was_there(tmp_path):
    write(tmp_path, a=b"1", copy__old=b"2")
    workdir.stage([workdir.Entry("d/a", tmp_path / "a", 1)], tmp_path / "copy")
    assert [path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*")] == ["d", "d/a"]


def test_arguments_that_stay_behind_are_found(tmp_path):
    write(tmp_path, in__a=b"1", out__b=b"2")
    entries = [workdir.Entry("in/a", tmp_path / "in/a", 1)]
    arguments = ["--images", "in", "--out=out/b", "out", "in/a", "missing", str(tmp_path / "out"), "--flag"]
    assert workdir.left_behind(arguments, tmp_path, entries) == ["out/b", "out"]
