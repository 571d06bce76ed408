"""Decoded volumes that stay in memory, so that the slices of one file decode it once.

Each process has one cache. It holds the volumes used last: at least one, and others while all together have at most
:data:`MAX_BYTES` of voxels as stored. Slices that come in order never decode a volume twice. A ``.mhd`` file is known
by its header alone: its voxels must not change while a process runs.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from medclm import storage
from medclm.data.volume_files import read_volume
from medclm.data.volumes import Volume

MAX_BYTES = 1 << 29
_CHANGED = ("mtime", "ETag", "etag", "LastModified", "updated", "created")
"""What fsspec's file systems say of a file that tells two versions of it apart."""


class VolumeCache:
    """Volumes by the address and the hash of their file.

    Args:
        max_bytes: of the stored voxels of all volumes together, unless one alone has more.

    Attributes:
        decoded: how many files were decoded so far.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes, self.decoded = max_bytes, 0
        self._volumes: OrderedDict[tuple[str, str], Volume] = OrderedDict()
        self._versions: dict[str, tuple[tuple[str, ...], str]] = {}  # address to version and hash
        self._lock = threading.RLock()

    def of_bytes(self, data: bytes, where: str, beside: bool = False) -> tuple[Volume, str]:
        """The volume in the bytes of a file, and their SHA-256 in hex; arguments and errors as :func:`read_volume`."""
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if (where, digest) not in self._volumes:
                self._volumes[where, digest] = read_volume(data, where, beside)
                self.decoded += 1
            self._volumes.move_to_end((where, digest))
            while len(self._volumes) > 1 and sum(v.stored.nbytes for v in self._volumes.values()) > self.max_bytes:
                (dropped, _), _ = self._volumes.popitem(last=False)
                self._versions.pop(dropped, None)
            return self._volumes[where, digest], digest

    def of_file(self, uri: str) -> tuple[Volume, str]:
        """As :meth:`of_bytes`; a file whose storage says that it did not change is not even read again.

        Raises:
            MedclmError: the file does not exist, or is no volume that can be read.
        """
        version = _version(uri)
        with self._lock:
            known, digest = self._versions.get(uri, ((), ""))
            if version and known == version and (uri, digest) in self._volumes:
                self._volumes.move_to_end((uri, digest))
                return self._volumes[uri, digest], digest
            volume, digest = self.of_bytes(storage.read_bytes(uri), uri, beside=True)
            self._versions[uri] = (version, digest)
            return volume, digest


def _version(uri: str) -> tuple[str, ...]:
    """Size and time or tag of a file; () where its storage does not say, or it does not exist."""
    fs, path = storage.open_fs(uri)
    try:
        info = storage.retried(lambda: fs.info(path))
    except FileNotFoundError:
        return ()
    changed = [str(info[name]) for name in _CHANGED if info.get(name) is not None]
    return (str(info.get("size")), *changed) if changed else ()


_CACHE = VolumeCache()


def volume_in(data: bytes, where: str) -> Volume:
    """The volume in the bytes of a file, from this process's cache; errors as :func:`read_volume`."""
    return _CACHE.of_bytes(data, where)[0]


def load_volume(uri: str) -> tuple[Volume, str]:
    """The volume in a file, from this process's cache, and the SHA-256 of the file in hex.

    Raises:
        MedclmError: the file does not exist, or is no volume that can be read.
    """
    return _CACHE.of_file(uri)
