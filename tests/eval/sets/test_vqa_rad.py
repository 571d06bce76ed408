"""VQA-RAD's three copies, made by hand; the real training file is in tests/eval/test_benchmarks.py."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medclm.errors import UsageError
from medclm.eval.benchmarks import load_benchmark
from tests.eval.test_benchmarks import names, row


@pytest.fixture
def both(vqa_rad, tmp_path):
    """Training and test files that share one image."""
    held, seen = names(True, 1)[0], names(False, 1)[0]
    folder = vqa_rad([row(1, seen), row(2, held, answer="No"), row(3, seen, question="Q1?", answer="no")])
    (tmp_path / "testset.json").write_text(json.dumps([row(4, seen, question="New?"), row(5, held, question="Q2?")]))
    return folder


def test_official_test_says_what_it_shares(both):
    found = load_benchmark(f"vqa-rad-official:{both}")
    assert [item.id for item in found.items] == ["4", "5"]
    assert len(found.train_answers) == 3
    assert "2 of the test's 2 images are in training too: use vqa-rad for unseen images" in found.notes
    assert "testset.json: 2 questions, 2 closed and 0 open; PUBLISHED: 451: another copy, or an incomplete one" in (
        found.notes
    )
    assert found.splits_by == "nothing"


def test_disjoint_split_is_over_both_files_without_repeats(both):
    found = load_benchmark(f"vqa-rad:{both}")
    assert [item.id for item in found.items] == ["2"]  # 5 asks the same of the same image
    assert len(found.train_answers) == 2
    assert "2 rows repeat a question of the same image and are asked once; 2 of them have another answer" in found.notes
    assert len(load_benchmark(f"vqa-rad@train:{both}").items) == 2


def test_public_json_splits_by_phrase_type(vqa_rad, tmp_path):
    folder = vqa_rad([row(1, "a.jpg", phrase_type="test_freeform"), row(2, "b.jpg", phrase_type="para")])
    (tmp_path / "trainset.json").rename(tmp_path / "VQA_RAD Dataset Public.json")
    assert [item.id for item in load_benchmark(f"vqa-rad-official:{folder}").items] == ["1"]


def test_no_official_test_in_the_training_file(vqa_rad):
    with pytest.raises(UsageError, match="published test of VQA-RAD is not there"):
        load_benchmark(f"vqa-rad-official:{vqa_rad([row(1, 'a.jpg')])}")


def test_parquet_copy(tmp_path):
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    rows = [{"image": {"bytes": buffer.getvalue(), "path": None}, "question": "Is it?", "answer": answer}
            for answer in ("yes", "left lung")]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test-00000-of-00001.parquet")
    found = load_benchmark(f"vqa-rad-official:{tmp_path}")
    assert [(item.closed, item.type) for item in found.items] == [(True, "closed"), (False, "open")]
    assert len({item.image_id for item in found.items}) == 1
    assert any("PUBLISHED: 451" in note for note in found.notes)
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(Exception, match="cannot be read"):
        load_benchmark(f"vqa-rad-official:{tmp_path}")
