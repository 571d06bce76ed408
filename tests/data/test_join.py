"""Several built datasets as one."""

from __future__ import annotations

import pytest

from medclm.data import join, report, shards
from medclm.data.rejects import Reject
from medclm.errors import UsageError
from medclm.train.data import fragments_of
from tests.data.helpers import linked_nodule, record

A, B = record([linked_nodule()], image_id="a", patient_id="p"), record(image_id="b", patient_id="q", split="test")
C = record(image_id="c", patient_id="p")
LOST = Reject(image_id="d", where="d.dcm", reason="unreadable-image", detail="no pixels")


@pytest.fixture
def part(tmp_path):
    """Writes a dataset of the given records under a name; its address."""

    def _part(name, *records, rejects=()):
        shards.write_shard(str(tmp_path / name), 0, list(records), list(rejects))
        shards.write_manifest(str(tmp_path / name), {"fingerprint": name, "reader_rejects": {"bad-row": 1}})
        return str(tmp_path / name)

    return _part


def test_the_rows_of_all_parts_in_their_order(part, tmp_path, monkeypatch):
    one, two, out = part("one", A, B, rejects=[LOST]), part("two", C), str(tmp_path / "all")
    monkeypatch.chdir(tmp_path)
    manifest = join.join(["one", two], out)
    monkeypatch.chdir("/")
    assert list(shards.read_records(out)) == [A, B, C]
    assert shards.shard_files(out) == [f"{one}/shards/shard-00000.parquet", f"{two}/shards/shard-00000.parquet"]
    assert (manifest["rows"], manifest["rejected"]) == (3, {"unreadable-image": 1})
    assert manifest["build"]["reader_rejects"] == {"bad-row": 2}
    assert manifest["counts"]["splits"] == {"test": 1, "train": 2}
    assert [fragment.rows for fragment in fragments_of(out, "train")] == [1, 1]
    assert report.build_report(out)["rejected"] == {"unreadable-image": 1}
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["manifest.json", "report.html", "report.json"]


def test_the_hash_is_that_of_one_build_of_all_rows(part, tmp_path):
    whole = shards.read_manifest(part("whole", A, B, C))["content_hash"]
    joined = join.join([part("one", B), part("two", C, A)], str(tmp_path / "all"))
    assert joined["content_hash"] == whole


def test_a_joined_dataset_is_a_part_like_any_other(part, tmp_path):
    inner, outer = str(tmp_path / "inner"), str(tmp_path / "outer")
    join.join([part("one", A, rejects=[LOST]), part("two", B)], inner)
    join.join([inner, part("three", C)], outer)
    assert list(shards.read_records(outer)) == [A, B, C]
    assert shards.parts_of(outer) == [str(tmp_path / name) for name in ("one", "two", "three")]


def test_an_image_in_two_parts_is_refused(part, tmp_path):
    parts = [part("one", A, B), part("two", C, A)]
    with pytest.raises(UsageError, match=r"(?s)an image is in two parts.*/a\b.*1 images"):
        join.join(parts, str(tmp_path / "all"))
    assert not (tmp_path / "all").exists()


def test_a_patient_in_two_splits_is_refused_unless_it_is_another_dataset_s(part, tmp_path):
    test = C.model_copy(update={"split": "test"})
    with pytest.raises(UsageError, match=r"(?s)a patient is in two splits.*/p\b"):
        join.join([part("one", A), part("two", test)], str(tmp_path / "all"))
    other = test.model_copy(update={"dataset": "elsewhere"})
    assert join.join([part("one", A), part("three", other)], str(tmp_path / "all"))["rows"] == 2


def test_a_directory_holds_one_joined_dataset(part, tmp_path):
    out = str(tmp_path / "all")
    assert join.join([part("one", A)], out) == join.join([str(tmp_path / "one")], out)
    with pytest.raises(UsageError, match="holds another dataset"):
        join.join([part("two", C)], out)
    with pytest.raises(UsageError, match="holds another dataset"):
        join.join([part("three", C)], str(tmp_path / "one"))
    with pytest.raises(UsageError, match="nothing to join"):
        join.join([], out)
    with pytest.raises(UsageError, match="not a built dataset"):
        join.join([str(tmp_path / "nowhere")], str(tmp_path / "new"))
