"""The cache: one decoding for all slices, bounded memory, and a changed file is read again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from medclm import storage
from medclm.data import volume_cache
from medclm.data.images import read_file, read_picture
from medclm.data.volume_cache import VolumeCache
from medclm.errors import MedclmError
from tests.data.volume_arrays import VALUES, metaimage, nifti


def test_a_hundred_slices_decode_one_file_once(tmp_path, monkeypatch):
    cache = VolumeCache()
    monkeypatch.setattr(volume_cache, "_CACHE", cache)
    values = np.arange(400, dtype=np.int16).reshape(2, 2, 100)
    path = nifti(tmp_path / "a.nii.gz", values)
    data = Path(path).read_bytes()
    for k in range(100):
        picture, sha256 = read_file(path, k)
        assert np.array_equal(picture.values, values[:, :, k].T)
        assert np.array_equal(read_picture(data, path, frame=k).values, picture.values)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert cache.decoded == 1


def test_a_file_that_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    path, cache, reads = nifti(tmp_path / "a.nii"), VolumeCache(), []
    read_bytes = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda uri: reads.append(uri) or read_bytes(uri))
    first, _ = cache.of_file(path)
    assert cache.of_file(path)[0] is first
    assert reads == [path]
    nifti(Path(path), VALUES + 1)
    os.utime(path, (1, 1))
    assert cache.of_file(path)[0].stored[0, 0, 0] == 1
    assert reads == [path, path]


def test_memory_is_bounded_and_the_volume_in_use_stays(tmp_path):
    paths = [nifti(tmp_path / f"{n}.nii", VALUES + n) for n in range(3)]
    cache = VolumeCache(max_bytes=2 * VALUES.nbytes)
    for path in (*paths[:2], paths[0], paths[2], paths[0]):  # 1 is the one used longest ago
        cache.of_file(path)
    assert cache.decoded == 3
    cache.of_file(paths[1])
    assert cache.decoded == 4
    tiny = VolumeCache(max_bytes=1)
    for path in (paths[0], paths[0], paths[1], paths[1]):
        tiny.of_file(path)
    assert tiny.decoded == 2


def test_a_header_with_its_voxels_beside_it(tmp_path):
    path = metaimage(tmp_path / "a.mhd")
    assert read_file(path, 1)[0].values.tolist() == VALUES[:, :, 1].T.tolist()


def test_a_missing_file(tmp_path):
    with pytest.raises(MedclmError, match="does not exist"):
        read_file(str(tmp_path / "none.nii"), 0)
