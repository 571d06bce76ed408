"""Leaks: whether given strings (names, dates, hospital numbers) occur anywhere in the files of a dataset.

What is searched is what a reader could see: names of files, texts, every column of Parquet files as decoded, text
chunks and EXIF fields of pictures (also of those inside Parquet columns, tar files and the data URIs of pages), and
the raw bytes of everything else. The search ignores case. Text that is drawn into pixels is not read.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclm import storage

_DATA_URI = re.compile(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
_ROWS = 64

Part = tuple[str, bytes]
"""(place within a file, content)."""


@dataclass(frozen=True)
class Leak:
    """``planted`` occurs in ``file``; ``place`` is the column, picture field or tar member, "" for the file itself."""

    planted: str
    file: str
    place: str


def scan_for_leaks(directory: str | Path, planted: list[str]) -> list[Leak]:
    """Where any of ``planted`` occurs under ``directory``, each file and place once, sorted.

    Args:
        directory: any fsspec address.
        planted: strings to look for, not empty; give dates and names in each spelling that counts.
    """
    needles = {text: _spellings(text) for text in planted}
    base = str(directory).rstrip("/")
    found = set()
    for file in storage.list_files(directory, "**"):
        name = file[len(base) + 1 :] if file.startswith(base) else file
        for place, data in [("file name", name.encode()), *_parts("", file, storage.read_bytes(file))]:
            low = data.lower()
            found |= {Leak(text, name, place) for text, spelt in needles.items() if any(one in low for one in spelt)}
    return sorted(found, key=lambda leak: (leak.file, leak.place, leak.planted))


def _spellings(text: str) -> set[bytes]:
    """The ways that a string is written into files, in lower case: plain, escaped for JSON or HTML, recoded."""
    if not text:
        raise ValueError("an empty string occurs everywhere")
    plain = {text, text.lower(), text.upper()}
    spelt = {way for one in plain for way in (one, json.dumps(one)[1:-1], html.escape(one), one.replace("'", "&#39;"))}
    encoded = {one.encode(code, "replace") for one in spelt for code in ("utf-8", "latin-1", "utf-16-le")}
    return {one.lower() for one in encoded if b"?" in text.encode() or b"?" not in one}


def _parts(place: str, name: str, data: bytes) -> Iterator[Part]:
    """The content of a file, taken apart as far as its format is known."""
    yield place, data
    if data.startswith(b"PAR1"):
        yield from _parquet(data)
    elif data.startswith(_PICTURES):
        yield from _picture(place, data)
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                content = tar.extractfile(member)
                yield member.name, member.name.encode()
                yield from _parts(member.name, member.name, content.read() if content else b"")
    else:
        for number, uri in enumerate(_DATA_URI.finditer(data)):
            yield from _parts(f"data URI {number}", "", base64.b64decode(uri[1]))


def _parquet(data: bytes) -> Iterator[Part]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    for batch in file.iter_batches(batch_size=_ROWS):
        for row in batch.to_pylist():
            yield from _values("", row)


def _values(place: str, value: Any) -> Iterator[Part]:
    """Strings and bytes of a nested value; the place is the path of column names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _values(f"{place}.{key}".strip("."), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(place, inner)
    elif isinstance(value, str):
        yield place, value.encode()
    elif isinstance(value, bytes):
        yield from _parts(place, "", value)


def _picture(place: str, data: bytes) -> Iterator[Part]:
    """Text chunks (PNG tEXt, zTXt, iTXt, JPEG comment) and EXIF fields, decompressed."""
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as picture:
        picture.load()
        fields: dict[str, Any] = {str(key): value for key, value in picture.info.items()}
    fields |= {f"EXIF {tag}": value for tag, value in picture.getexif().items()}
    for key, value in fields.items():
        content = value if isinstance(value, bytes) else str(value).encode()
        yield f"{place} {key}".strip(), key.encode() + b"\n" + content
