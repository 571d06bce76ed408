import json

import pytest

from medclm.errors import MedclmError, UsageError
from medclm.eval.asks import Ask, Window
from medclm.eval.sources import FileSource, model_identity, open_source


def said(source: FileSource, *items: str) -> list:
    found: list = []
    window = Window((), tuple(Ask(item, "p", "?") for item in items), items)
    source.answer([window], lambda place, replies: found.extend(replies))
    return [reply.prediction.answer if reply.prediction else reply.reason for reply in found]


def test_a_table_of_answers(tmp_path):
    (tmp_path / "p.csv").write_text("id,answer\n7,007\n8,\n9,yes\n9,no\n")
    source = FileSource(tmp_path / "p.csv")
    assert said(source, "7", "9", "10") == ["007", "no", "the file has no row with this id"]
    assert source.info["predictions"] == 3
    assert source.info["rows_with_an_id_used_before_or_none"] == 1


def test_why_an_earlier_run_had_no_answer_is_kept(tmp_path):
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "1", "answer": None, "text": None, "reason": "time-out"}))
    assert said(FileSource(tmp_path / "p.jsonl"), "1") == ["time-out"]


@pytest.mark.parametrize("text", ['{"id": "1", "ans', '{"id": "1"}\n{"id": '])
def test_truncated_lines(tmp_path, text):
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(MedclmError, match="cannot be read"):
        FileSource(tmp_path / "p.jsonl")


def test_missing_file_and_columns(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        FileSource(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("question,answer\na,b\n")
    with pytest.raises(UsageError, match="lacks columns"):
        FileSource(tmp_path / "p.csv")


def test_a_model_is_another_when_its_weights_are(tmp_path):
    (tmp_path / "medclm.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    one = model_identity(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"12")
    assert model_identity(tmp_path) != one


def test_a_directory_without_a_model(tmp_path):
    with pytest.raises(UsageError, match="exported model"):
        open_source(tmp_path, "reason", 8, 4)
