"""Flat exports of a built dataset, one entry per question, for trainers that know other layouts.

* ``llava``: ``data.json`` of LLaVA's conversations, pictures in ``images/``
* ``sharegpt``: ``data.json`` and ``dataset_info.json`` as LLaMA-Factory reads them, pictures in ``images/``
* ``hf``: ``SPLIT.parquet`` with an ``image`` column that ``datasets`` decodes
* ``webdataset``: ``SPLIT-00000.tar`` of ``KEY.png`` and ``KEY.json``
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medclm.data.records import Question, Record
from medclm.data.shards import read_manifest, read_records
from medclm.errors import UsageError

SHARD_QUESTIONS = 1000
"""Questions in one tar file."""

Row = tuple[Record, Question]


def export(directory: str, to: str | Path, format: str) -> dict[str, Any]:
    """Writes the export and returns ``{"format", "questions", "images", "files"}``.

    Args:
        directory: a built dataset.
        to: directory to write; it must be empty or not exist.
        format: a key of :data:`FORMATS`.

    Raises:
        UsageError: the format is unknown, the dataset is not finished, or ``to`` holds something.
    """
    if format not in FORMATS:
        raise UsageError("unknown export format", got=format, expected=", ".join(FORMATS))
    read_manifest(directory)
    target = Path(to)
    if target.is_dir() and any(target.iterdir()):
        raise UsageError("the directory to export to is not empty", where=target, remedy="choose another --to")
    target.mkdir(parents=True, exist_ok=True)
    questions, seen = 0, set()

    def rows() -> Iterator[Row]:
        nonlocal questions
        for record in read_records(directory):
            for question in record.questions:
                questions += 1
                seen.add(record.image_id)
                yield record, question

    FORMATS[format](rows(), target)
    files = sum(1 for path in target.rglob("*") if path.is_file())
    return {"format": format, "questions": questions, "images": len(seen), "files": files}


def solution(question: Question) -> str:
    """Reasoning and answer as one text; boxes are left to formats that keep fields."""
    steps = " ".join(step.text for step in question.reasoning)
    return f"Reasoning: {steps} Answer: {question.answer}" if steps else f"Answer: {question.answer}"


def _picture(record: Record, target: Path) -> str:
    """Writes the picture once; returns its path relative to the export."""
    assert record.image is not None, "a built record has its picture"
    name = f"images/{record.image_id}.{record.image.format}"
    path = target / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(record.image.bytes)
    return name


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _llava(rows: Iterator[Row], target: Path) -> None:
    entries = [
        {
            "id": question.id,
            "image": _picture(record, target),
            "conversations": [
                {"from": "human", "value": f"<image>\n{question.question}"},
                {"from": "gpt", "value": solution(question)},
            ],
        }
        for record, question in rows
    ]
    _write_json(target / "data.json", entries)


def _sharegpt(rows: Iterator[Row], target: Path) -> None:
    entries = [
        {
            "messages": [
                {"role": "user", "content": f"<image>{question.question}"},
                {"role": "assistant", "content": solution(question)},
            ],
            "images": [_picture(record, target)],
        }
        for record, question in rows
    ]
    _write_json(target / "data.json", entries)
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    entry = {"file_name": "data.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    _write_json(target / "dataset_info.json", {"medclm": entry})


_HF_FEATURES = {
    "image": {"_type": "Image"},
    **{
        name: {"dtype": "string", "_type": "Value"}
        for name in ("question_id", "image_id", "patient_id", "type", "question", "answer", "reasoning", "boxes")
    },
}


def _hf(rows: Iterator[Row], target: Path) -> None:
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
        + [(name, pa.string()) for name in _HF_FEATURES if name != "image"],
        metadata={"huggingface": json.dumps({"info": {"features": _HF_FEATURES}})},
    )
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        for record, question in rows:
            split = record.split or "train"
            if split not in writers:
                writers[split] = pq.ParquetWriter(target / f"{split}.parquet", schema)
            writers[split].write_table(pa.Table.from_pylist([_flat(record, question)], schema=schema))
    finally:
        for writer in writers.values():
            writer.close()


def _flat(record: Record, question: Question) -> dict[str, Any]:
    assert record.image is not None, "a built record has its picture"
    return {
        "image": {"bytes": record.image.bytes, "path": f"{record.image_id}.{record.image.format}"},
        "question_id": question.id,
        "image_id": record.image_id,
        "patient_id": record.patient_id,
        "type": question.type,
        "question": question.question,
        "answer": question.answer,
        "reasoning": " ".join(step.text for step in question.reasoning),
        "boxes": json.dumps([step.box_xyxy for step in question.reasoning]),
    }


def _webdataset(rows: Iterator[Row], target: Path) -> None:
    counts: dict[str, int] = {}
    with ExitStack() as files:
        tars: dict[str, tarfile.TarFile] = {}
        for record, question in rows:
            split = record.split or "train"
            count = counts.get(split, 0)
            if count % SHARD_QUESTIONS == 0:
                name = f"{split}-{count // SHARD_QUESTIONS:05d}.tar"
                tars[split] = files.enter_context(tarfile.open(target / name, "w"))
            counts[split] = count + 1
            fields = _flat(record, question)
            picture = fields.pop("image")
            key = f"{count:08d}"
            _add(tars[split], f"{key}{Path(picture['path']).suffix}", picture["bytes"])
            _add(tars[split], f"{key}.json", json.dumps(fields, ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


FORMATS: dict[str, Callable[[Iterator[Row], Path], None]] = {
    "llava": _llava,
    "sharegpt": _sharegpt,
    "hf": _hf,
    "webdataset": _webdataset,
}
