"""API keys: only their SHA-256 is kept, in a file of one key a line, or taken from the environment."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from medclm.errors import UsageError

KEYS_VARIABLE = "MEDCLM_API_KEYS"
"""Environment variable with accepted API keys, separated by commas; empty or unset: none."""
_LINE = re.compile(r"(?P<hash>[0-9a-f]{64})(\s+(?P<name>\S.*))?", re.IGNORECASE)


def hash_keys(keys: Iterable[str]) -> tuple[bytes, ...]:
    """SHA-256 of each key, so that the keys themselves are held nowhere."""
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys)


def keys_from_environment() -> tuple[bytes, ...]:
    """Hashes of the keys in :data:`KEYS_VARIABLE`."""
    return hash_keys(key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip())


def keys_from_file(file: str | Path) -> tuple[bytes, ...]:
    """Hashes in a keys file: SHA-256 in hex, then, if wanted, a name; ``#`` starts a comment line.

    Raises:
        UsageError: there is no such file, a line is no hash, or it holds no key at all.
    """
    path = Path(file)
    if not path.is_file():
        raise UsageError("the keys file does not exist", where=path, remedy="medclm key NAME >> FILE makes one")
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:  # the line is not shown: it may be a key in the clear
            expected = "SHA-256 of a key, 64 hex digits, then a name"
            raise UsageError("a line of the keys file is no hash", where=f"{path}:{number}", expected=expected)
        found.append(bytes.fromhex(match["hash"]))
    if not found:
        raise UsageError("the keys file holds no key", where=path, remedy="leave keys_file out to ask for none")
    return tuple(found)


def all_keys(file: str | None) -> tuple[bytes, ...]:
    """Hashes from the file, where one is given, and from the environment."""
    return (*(keys_from_file(file) if file else ()), *keys_from_environment())


def new_key(name: str) -> tuple[str, str]:
    """A fresh key, and its line for a keys file."""
    import secrets

    key = f"medclm-{secrets.token_urlsafe(32)}"
    return key, f"{hashlib.sha256(key.encode()).hexdigest()}  {name}"
