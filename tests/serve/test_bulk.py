"""Answers in bulk: what is read, what is set aside, and that a second run does nothing twice."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medclm.errors import UsageError
from medclm.serve.bulk import Answering, Asking, Piece, cut, predict_all, read
from medclm.serve.predictor import Request

QUESTION = "Is there a nodule?"


@pytest.fixture
def folder(tmp_path, picture):
    """Five pictures, one of which is broken, and a file that is none."""
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    for n in range(4):
        picture(n).save(source / ("deep" if n % 2 else ".") / f"{n}.png")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n")
    (source / "notes.txt").write_text("not a picture")
    return source


def test_pieces(folder):
    pieces = cut(str(folder), QUESTION, 2)
    assert [len(piece.files) for piece in pieces] == [2, 2, 1]
    with pytest.raises(UsageError, match="need a question"):
        cut(str(folder), " ", 2)
    with pytest.raises(UsageError, match="does not exist"):
        cut(str(folder / "none"), QUESTION, 2)
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="no picture"):
        cut(str(folder / "empty"), QUESTION, 2)


def test_tables(tmp_path, png):
    file = tmp_path / "rows.parquet"
    rows = [{"image": {"bytes": png}, "question": "a"}, {"image": {"bytes": png}, "question": None}] * 2
    pq.write_table(pa.Table.from_pylist(rows), file)
    pieces = cut(str(file), "", 3)
    assert [(piece.start, piece.stop) for piece in pieces] == [(0, 3), (3, 4)]
    assert [question for _, _, question in read(pieces[0], "common")] == ["a", "common", "a"]
    assert [identity for identity, _, _ in read(pieces[1], "")] == [f"{file}#3"]


def test_a_folder_through_ray_data(ray_cluster, model_dir, predictor, folder, picture, tmp_path):
    asking = Asking(str(model_dir), QUESTION, "answer", 8)
    out = tmp_path / "out"
    assert predict_all(str(folder), str(out), asking, piece=2) == {
        "answered": 4, "failed": 1, "pieces": 3, "done_before": 0
    }  # fmt: skip
    rows = {row["id"]: row for file in out.glob("*.parquet") for row in pq.read_table(file).to_pylist()}
    assert len(rows) == 5
    for n in range(4):
        alone = predictor.predict([Request(picture(n), QUESTION, "answer", 8)])[0]
        row = rows[str(folder / ("deep" if n % 2 else "") / f"{n}.png")]
        assert (row["text"], row["answer"], row["error"]) == (alone.text, alone.answer, "")
        assert row["model"] == "0123456789abcdef"
    assert rows[str(folder / "broken.png")]["error"].startswith("the ")
    next(out.glob("*.parquet")).unlink()
    again = predict_all(str(folder), str(out), asking, piece=2)
    assert (again["done_before"], again["pieces"]) == (2, 3)
    assert predict_all(str(folder), str(out), asking, piece=2)["answered"] == 0


def test_a_row_without_a_question_is_an_error_of_its_own(model_dir, png, tmp_path):
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"image": png, "question": "x"}, {"image": png, "question": None}]), file)
    rows = Answering(Asking(str(model_dir), max_new_tokens=3), "", "cpu").answer(Piece(table=str(file), stop=2))
    assert [row["error"] != "" for row in rows] == [False, True]
