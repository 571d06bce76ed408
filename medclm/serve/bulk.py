"""Many questions at once, through Ray Data: a folder of pictures or Parquet files in, Parquet files of answers out.

The work is cut into pieces by what it reads. A piece's answers are one file, named by the piece's fingerprint and
written whole: run the command again, and only what is missing is done.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from medclm import storage
from medclm.errors import MedclmError, UsageError
from medclm.serve.predictor import Mode, Prediction, Predictor, Request, check_model_dir

SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".ima")
COLUMNS = ("path", "image", "question")


@dataclass(frozen=True)
class Piece:
    """Part of the input: some picture files, or rows [start, stop) of a Parquet file."""

    files: tuple[str, ...] = ()
    table: str = ""
    start: int = 0
    stop: int = 0


@dataclass(frozen=True)
class Asking:
    """What is asked of every picture that brings no question of its own, and how."""

    model: str
    question: str = ""
    mode: Mode = "reason"
    max_new_tokens: int = 256
    max_image_pixels: int = 50_000_000


def predict_all(
    source: str, out: str, asking: Asking, actors: int = 1, num_gpus: float = 0, piece: int = 256
) -> dict[str, int]:
    """Answer every question of ``source`` into Parquet files under ``out``, on the Ray that is connected.

    Args:
        source: a folder of pictures, or a Parquet file or a folder of them with columns ``image`` (bytes) or ``path``,
            and ``question`` where each row has its own.
        out: folder to write: columns id, question, text, answer, confidence, steps (JSON), parsed, error, model.
        actors: model replicas.
        piece: pictures in one output file.

    Returns:
        Counts: ``answered`` and ``failed`` now, ``pieces``, and ``done_before`` of them.

    Raises:
        UsageError: no model, nothing to read, or no question. MedclmError: a Parquet file lacks the columns.
    """
    import ray

    check_model_dir(asking.model)
    pieces = {f"{name_of(one, asking)}.parquet": one for one in cut(source, asking.question, piece)}
    storage.make_dir(out)
    there = {address.rpartition("/")[2] for address in storage.list_files(out, "*.parquet")}
    todo = [{"name": name, **asdict(one)} for name, one in pieces.items() if name not in there]
    counts = {"answered": 0, "failed": 0, "pieces": len(pieces), "done_before": len(pieces) - len(todo)}
    if not todo:
        return counts
    done = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
        Answering,
        fn_constructor_kwargs={"asking": asking, "out": out, "device": "auto" if num_gpus else "cpu"},
        batch_size=1,
        num_gpus=num_gpus or None,
        compute=ray.data.ActorPoolStrategy(size=min(actors, len(todo))),
    )
    for row in done.iter_rows():
        counts["answered"] += row["answered"]
        counts["failed"] += row["failed"]
    return counts


def name_of(piece: Piece, asking: Asking) -> str:
    """A piece's fingerprint: what it reads, and what is asked by which model."""
    model = storage.read_json(storage.join(asking.model, "medclm.json")).get("fingerprint", asking.model)
    return storage.fingerprint({**asdict(piece), **asdict(asking), "model": model})


def cut(source: str, question: str, size: int) -> list[Piece]:
    """The pieces of a source, in a fixed order.

    Raises:
        UsageError: there is nothing to read, or pictures without a question.
    """
    import pyarrow.parquet as pq

    fs, root = storage.open_fs(source)
    if not fs.exists(root):
        raise UsageError("the source does not exist", where=source)
    files = [source] if fs.isfile(root) else sorted(storage.list_files(source, "**"))
    tables = [file for file in files if file.endswith(".parquet")]
    if tables:
        rows = {file: pq.ParquetFile(io.BytesIO(storage.read_bytes(file))).metadata.num_rows for file in tables}
        return [
            Piece(table=file, start=at, stop=min(at + size, n)) for file, n in rows.items() for at in range(0, n, size)
        ]
    pictures = [file for file in files if file.lower().endswith(SUFFIXES)]
    if not pictures:
        raise UsageError("there is no picture and no Parquet file", where=source, expected=", ".join(SUFFIXES))
    if not question.strip():
        raise UsageError("pictures need a question", remedy='add --question "Is there a nodule?"')
    return [Piece(files=tuple(pictures[at : at + size])) for at in range(0, len(pictures), size)]


def read(piece: Piece, question: str) -> Iterator[tuple[str, bytes | MedclmError, str]]:
    """(id, file, question) of each row; a file that cannot be read is an error in its place."""
    if piece.files:
        for file in piece.files:
            yield file, _bytes(file), question
        return
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(storage.read_bytes(piece.table)))
    names = [name for name in COLUMNS if name in table.column_names]
    if not {"path", "image"} & set(names):
        raise MedclmError("the table has no pictures", where=piece.table, expected="a column `image` or `path`")
    for n, row in enumerate(table.select(names).slice(piece.start, piece.stop - piece.start).to_pylist(), piece.start):
        found = row.get("image")
        data = found["bytes"] if isinstance(found, dict) else found
        identity = row.get("path") or f"{piece.table}#{n}"
        yield identity, data if data is not None else _bytes(identity), row.get("question") or question


def _bytes(file: str) -> bytes | MedclmError:
    try:
        return storage.read_bytes(file)
    except (OSError, MedclmError) as error:
        return MedclmError("the file cannot be read", where=file, got=error)


class Answering:
    """A Ray Data actor: one predictor that answers pieces and writes their files."""

    def __init__(self, asking: Asking, out: str, device: str) -> None:
        self.asking, self.out = asking, out
        self.predictor = Predictor(asking.model, device, threads=None if device == "auto" else 1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        name, table = str(batch["name"][0]), str(batch["table"][0])
        piece = Piece(tuple(batch["files"][0]), table, int(batch["start"][0]), int(batch["stop"][0]))
        rows = self.answer(piece)
        storage.write_atomic(storage.join(self.out, name), _parquet(rows))
        failed = sum(row["error"] != "" for row in rows)
        return {"answered": [len(rows) - failed], "failed": [failed]}

    def answer(self, piece: Piece, at_once: int = 32) -> list[dict[str, Any]]:
        """The output rows of a piece, in the order of its input."""
        rows: list[dict[str, Any]] = []
        waiting: list[tuple[dict[str, Any], Request]] = []
        for identity, data, question in read(piece, self.asking.question):
            row = {**_EMPTY, "id": identity, "question": question, "model": self.predictor.info.get("fingerprint", "")}
            rows.append(row)
            try:
                waiting.append((row, self._request(data, question)))
            except MedclmError as error:
                row["error"] = error.message()
            if len(waiting) == at_once:
                self._flush(waiting)
        self._flush(waiting)
        return rows

    def _request(self, data: bytes | MedclmError, question: str) -> Request:
        import PIL.Image

        from medclm.data.images import read_picture, render

        if isinstance(data, MedclmError):
            raise data
        if not question.strip():
            raise MedclmError("the row has no question")
        pixels, _ = render(read_picture(data, "the image", max_pixels=self.asking.max_image_pixels))
        return Request(PIL.Image.fromarray(pixels), question.strip(), self.asking.mode, self.asking.max_new_tokens)

    def _flush(self, waiting: list[tuple[dict[str, Any], Request]]) -> None:
        for (row, _), prediction in zip(
            waiting, self.predictor.predict([request for _, request in waiting]), strict=True
        ):
            row.update(_fields(prediction))
        waiting.clear()


_EMPTY: dict[str, Any] = {
    "id": "", "question": "", "text": "", "answer": "", "confidence": 0.0, "steps": "[]", "parsed": False,
    "error": "", "model": "",
}  # fmt: skip


def _fields(prediction: Prediction) -> dict[str, Any]:
    import json

    steps = json.dumps([step.model_dump() for step in prediction.steps])
    fields = {name: getattr(prediction, name) for name in ("text", "answer", "confidence", "parsed")}
    return {**fields, "steps": steps}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()
