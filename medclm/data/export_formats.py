"""The writers of the flat exports: each is a context that is given one question at a time and keeps none of them."""

from __future__ import annotations

import io
import json
import tarfile
from abc import abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from medclm.data.export_entry import Picture, fields, pictures, prompt, solution
from medclm.data.records import Question, Record

SHARD_QUESTIONS = 1000
"""Questions in one tar file."""
GROUP_ROWS = 64
"""Questions in one row group of a Parquet file; datasets streams a group at a time."""


class _Writer(ExitStack):
    """Holds what has to be closed. ``target`` is the directory of the export."""

    def __init__(self, target: Path) -> None:
        super().__init__()
        self.target = target

    @abstractmethod
    def add(self, split: str, record: Record, question: Question) -> None:
        """Takes one question of one row; every format writes it its own way."""

    def save(self, found: list[Picture]) -> list[str]:
        """Writes pictures to ``images/``, each once; returns their paths within the export."""
        (self.target / "images").mkdir(exist_ok=True)
        for name, image in found:
            path = self.target / "images" / name
            if not path.exists():
                path.write_bytes(image.bytes)
        return [f"images/{name}" for name, _ in found]


class _JsonArray:
    """A JSON file with one array, written element by element."""

    def __init__(self, path: Path) -> None:
        self.file: IO[str] = path.open("w", encoding="utf-8")
        self.before = "[\n"

    def append(self, value: object) -> None:
        self.file.write(self.before + json.dumps(value, ensure_ascii=False))
        self.before = ",\n"

    def close(self) -> None:
        self.file.write("\n]\n")
        self.file.close()


class Llava(_Writer):
    """LLaVA: ``id``, ``image`` (a list for two pictures) and ``conversations``; other keys are kept and ignored."""

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self.arrays: dict[str, _JsonArray] = {}

    def add(self, split: str, record: Record, question: Question) -> None:
        if split not in self.arrays:
            self.arrays[split] = _JsonArray(self.target / f"{split}.json")
            self.callback(self.arrays[split].close)
        self.arrays[split].append(self.entry(record, question))

    def entry(self, record: Record, question: Question) -> dict[str, Any]:
        paths = self.save(pictures(record, question))
        human = "<image>\n" * len(paths) + prompt(question)
        return {
            "id": question.id,
            "image": paths[0] if len(paths) == 1 else paths,
            "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": solution(question)}],
            **fields(record, question),
        }


class ShareGpt(Llava):
    """LLaMA-Factory: as many ``<image>`` in the text as ``images``. Fields are one JSON string, ``meta``: its loader
    infers the types of columns block by block, and lists that are empty at first would change theirs."""

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self.callback(self._describe)

    def entry(self, record: Record, question: Question) -> dict[str, Any]:
        paths = self.save(pictures(record, question))
        return {
            "messages": _messages("<image>" * len(paths) + prompt(question), question),
            "images": paths,
            "meta": json.dumps(fields(record, question), ensure_ascii=False),
        }

    def _describe(self) -> None:
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
        columns = {"messages": "messages", "images": "images"}
        info = {
            f"medclm_{split}": {
                "file_name": f"{split}.json", "formatting": "sharegpt", "columns": columns,
                "tags": {**tags, "system_tag": "system"},
            }
            for split in self.arrays
        }  # fmt: skip
        (self.target / "dataset_info.json").write_text(json.dumps(info, indent=1) + "\n")


def _messages(asked: str, question: Question) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": solution(question)}]


class HuggingFace(_Writer):
    """Parquet that ``datasets`` decodes. ``messages`` name no pictures: TRL puts the ``images`` before the text."""

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        (target / "data").mkdir()
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, pq.ParquetWriter] = {}
        self.callback(self._describe)

    def add(self, split: str, record: Record, question: Question) -> None:
        if split not in self.files:
            file = pq.ParquetWriter(self.target / "data" / f"{split}-00000.parquet", HF_SCHEMA, compression="zstd")
            self.files[split] = self.enter_context(file)
            self.callback(self._flush, split)
        images = [{"bytes": image.bytes, "path": name} for name, image in pictures(record, question)]
        messages = _messages(prompt(question), question)
        rows = self.rows.setdefault(split, [])
        rows.append({"images": images, "messages": messages, **fields(record, question)})
        if len(rows) == GROUP_ROWS:
            self._flush(split)

    def _flush(self, split: str) -> None:
        if self.rows[split]:
            self.files[split].write_table(pa.Table.from_pylist(self.rows[split], schema=HF_SCHEMA))
        self.rows[split] = []

    def _describe(self) -> None:
        files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in self.files]
        front = {
            "task_categories": ["visual-question-answering"],
            "tags": ["medical"],
            "configs": [{"config_name": "default", "data_files": files}],
        }
        head = f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"
        (self.target / "README.md").write_text(f"{head}\nAn export of medclm. Research data, not for diagnosis.\n")


_STRING, _STRINGS, _BOX = pa.string(), pa.list_(pa.string()), pa.list_(pa.float64())


def _rows_of(*columns: tuple[str, pa.DataType]) -> pa.DataType:
    return pa.list_(pa.struct(list(columns)))


_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("images", _rows_of(("bytes", pa.binary()), ("path", _STRING))),
    ("messages", _rows_of(("role", _STRING), ("content", _STRING))),
    *((name, _STRING) for name in ("question_id", "image_id", "patient_id", "dataset", "modality", "type")),
    ("difficulty", pa.int8()),
    ("question", _STRING),
    ("answer", _STRING),
    ("closed", pa.bool_()),
    ("choices", _STRINGS),
    ("reasoning", _rows_of(("step", _STRING), ("text", _STRING), ("box_xyxy", _BOX), ("facts", _STRINGS))),
    ("finding_ids", _STRINGS),
    (
        "findings",
        _rows_of(("id", _STRING), ("label", _STRING), ("box_xyxy", _BOX), ("organ", _STRING), ("side", _STRING)),
    ),
    ("labels", _STRINGS),
]


def _feature(kind: pa.DataType) -> Any:
    """An Arrow type in the words of ``datasets.Features``."""
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"_type": "Value", "dtype": {"double": "float64"}.get(str(kind), str(kind))}


_FEATURES = {name: _feature(kind) for name, kind in _COLUMNS} | {
    "images": {"_type": "List", "feature": {"_type": "Image"}}
}
HF_SCHEMA = pa.schema(_COLUMNS, metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})})
"""Columns of the ``hf`` export; the metadata tell ``datasets`` which of them are pictures."""


class WebDataset(_Writer):
    """Tar files. Questions about change, which have a second picture ``KEY.earlier.png``, have tar files of their own,
    because readers expect every sample of a file to have the same members."""

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self.tars: dict[str, tarfile.TarFile] = {}
        self.counts: dict[str, int] = {}
        self.callback(self._close_tars)

    def add(self, split: str, record: Record, question: Question) -> None:
        found = pictures(record, question)
        stem = split if len(found) == 1 else f"{split}-change"
        count = self.counts[stem] = self.counts.get(stem, -1) + 1
        if count % SHARD_QUESTIONS == 0:
            if stem in self.tars:
                self.tars[stem].close()
            name = f"{stem}-{count // SHARD_QUESTIONS:05d}.tar"
            self.tars[stem] = tarfile.open(self.target / name, "w")  # noqa: SIM115 (closed by the next, or at the end)
        key = f"{stem}-{count:08d}"
        for place, (_, image) in enumerate(reversed(found)):
            _put(self.tars[stem], f"{key}{'.earlier' * place}.{_SUFFIX[image.format]}", image.bytes)
        _put(self.tars[stem], f"{key}.json", json.dumps(fields(record, question), ensure_ascii=False).encode())

    def _close_tars(self) -> None:
        for tar in self.tars.values():
            tar.close()


_SUFFIX = {"png": "png", "jpeg": "jpg"}


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


FORMATS: dict[str, type[_Writer]] = {
    "llava": Llava,
    "sharegpt": ShareGpt,
    "hf": HuggingFace,
    "webdataset": WebDataset,
}
