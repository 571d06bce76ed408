"""Storage: one set of functions over local directories and object stores (s3://, gs://, memory://), through fsspec.

An address is a local path or a URL. What is written becomes visible whole or not at all: a local file is written
under a temporary name in the same directory and renamed, an object is stored by one PUT.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from medclm.errors import MedclmError, UsageError

EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""Protocol to the package that fsspec needs for it."""
TRIES, FIRST_WAIT_S = 5, 0.2
"""How often a read or write is tried where storage fails now and then, and the first pause; 3 s of pauses in all."""
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_LASTING_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG}
T = TypeVar("T")


def open_fs(url: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of an address and the path in it.

    Args:
        url: a local path (relative ones are taken from the working directory) or a URL.

    Returns:
        (fs, path): the path is without protocol and without a trailing slash.

    Raises:
        UsageError: the protocol is unknown, or the package for it is not installed.
    """
    protocol = str(url).partition("://")[0]
    try:
        fs, path = fsspec.core.url_to_fs(os.fspath(url))
    except ImportError as error:
        package = EXTRAS.get(protocol, f"the fsspec package for {protocol}")
        raise UsageError(
            f"{protocol}:// addresses need a package that is not installed", where=url, remedy=f"pip install {package}"
        ) from error
    except ValueError as error:
        raise UsageError("the address has an unknown protocol", where=url, got=error) from error
    return fs, path


def is_local(url: str | Path) -> bool:
    """True when the address is a path of this machine."""
    return isinstance(open_fs(url)[0], LocalFileSystem)


def join(url: str | Path, *parts: str) -> str:
    """The address of something below ``url``.

    Args:
        url: a local path or a URL.
        parts: relative ``/``-separated paths; empty ones are left out.

    Raises:
        MedclmError: a part is absolute, or would leave ``url`` by ``..``.
    """
    base = os.fspath(url)
    for part in parts:
        if part.startswith("/") or ".." in part.split("/") or "://" in part:
            raise MedclmError("a path leaves its directory", where=base, got=part, expected="a relative path")
    names = [name for part in parts for name in part.split("/") if name not in ("", ".")]
    if not names:
        return base
    if base.endswith("/"):
        return base + "/".join(names)
    return "/".join([base, *names]) if base else "/".join(names)


def absolute(url: str | Path) -> str:
    """The address that means the same from any working directory."""
    text = os.fspath(url)
    return text if "://" in text else os.path.abspath(text)


def exists(url: str | Path) -> bool:
    """True when a file or directory is there."""
    fs, path = open_fs(url)
    return bool(fs.exists(path))


def make_dir(url: str | Path) -> None:
    """Makes the directory and its parents; object stores have none, so nothing happens there."""
    fs, path = open_fs(url)
    if isinstance(fs, LocalFileSystem):
        fs.makedirs(path, exist_ok=True)


def remove(url: str | Path) -> None:
    """Removes one file that is there."""
    fs, path = open_fs(url)
    fs.rm_file(path)


def list_files(url: str | Path, pattern: str = "*") -> list[str]:
    """Addresses of the files below ``url`` that match a glob pattern, sorted; empty when the directory is not there.

    Args:
        url: a directory; glob signs in its own name are taken literally.
        pattern: ``*``, ``?``, ``[...]`` within one level, ``**`` over levels, relative to ``url``. Names that begin
            with a dot (temporary files of :func:`write_atomic`) are never returned.
    """
    fs, path = open_fs(url)
    found = fs.glob(f"{glob.escape(path.rstrip('/'))}/{pattern}", detail=True)
    files = [name for name, info in found.items() if info["type"] == "file"]
    files = sorted(name for name in files if not name.rpartition("/")[2].startswith("."))
    return files if isinstance(fs, LocalFileSystem) else [fs.unstrip_protocol(name) for name in files]


def read_bytes(url: str | Path) -> bytes:
    """The content of a file.

    Raises:
        MedclmError: it does not exist or cannot be read.
    """
    fs, path = open_fs(url)
    try:
        return retried(lambda: fs.cat_file(path))
    except FileNotFoundError as error:
        raise MedclmError("a file does not exist", where=url) from error
    except OSError as error:
        raise MedclmError("a file cannot be read", where=url, got=error) from error


def write_atomic(url: str | Path, data: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part; parents are made.

    Raises:
        MedclmError: it cannot be written; the old content is then still there.
    """
    fs, path = open_fs(url)
    try:
        if isinstance(fs, LocalFileSystem):
            retried(lambda: _write_renamed(Path(path), data))
        else:
            retried(lambda: fs.pipe_file(path, data))
    except OSError as error:
        raise MedclmError("a file cannot be written", where=url, got=error) from error


def retried(call: Callable[[], T]) -> T:
    """The result of ``call``; a fault that may pass is waited out, :data:`TRIES` times in all, twice as long each time.

    Whole reads and whole writes are safe to repeat. A path that is missing, forbidden or of the wrong kind, and a disk
    that is full, fail at once: trying again would not help.
    """
    for attempt in range(TRIES):
        try:
            return call()
        except OSError as error:
            if isinstance(error, _LASTING) or error.errno in _LASTING_ERRNO or attempt == TRIES - 1:
                raise
            time.sleep(FIRST_WAIT_S * 2**attempt)
    raise AssertionError("the last try returns or raises")


def _write_renamed(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name[:100]}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def canonical(obj: Any, indent: int | None = None) -> str:
    """JSON text that is the same for equal objects: sorted keys, no NaN, UTF-8.

    Raises:
        TypeError, ValueError: the object has no JSON form (NaN and infinity have none).
    """
    separators = (",", ":") if indent is None else None
    return json.dumps(obj, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)


def fingerprint(obj: Any) -> str:
    """First 16 hex digits of the SHA-256 of the object's canonical JSON."""
    return hashlib.sha256(canonical(obj).encode()).hexdigest()[:16]


def publish_json(url: str | Path, obj: Any) -> None:
    """Writes ``obj`` as indented JSON with sorted keys, atomically: equal objects give equal bytes."""
    write_atomic(url, (canonical(obj, indent=2) + "\n").encode())


def read_json(url: str | Path) -> Any:
    """The object in a JSON file.

    Raises:
        MedclmError: the file is missing or not JSON.
    """
    data = read_bytes(url)
    try:
        return json.loads(data)
    except ValueError as error:
        raise MedclmError("a file is not JSON", where=url, got=error, remedy="make it again, or restore it") from error
