"""MetaImage headers by hand; SimpleITK as the oracle where it is installed."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from medclm.data.volume_files import read_volume
from medclm.errors import MedclmError
from tests.data.volume_arrays import LPS, VALUES, metaimage

HEAD = b"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 1 1\nElementType = MET_SHORT\n"


def stored(data: bytes):
    return read_volume(data, "x").stored.ravel().tolist()


def test_directions_are_listed_axis_by_axis():
    directions = b"TransformMatrix = 0 1 0 0 0 -1 1 0 0\nOffset = 1 2 3\nElementSpacing = 2 3 4\n"
    grid = read_volume(HEAD + directions + b"ElementDataFile = LOCAL\n" + b"\1\0\2\0", "x").grid
    assert grid.affine.tolist() == [[0, 0, 4, 1], [2, 0, 0, 2], [0, -3, 0, 3], [0, 0, 0, 1]]
    assert (grid.plane, grid.display.text) == ("sagittal", ""), "columns run to the back, rows to the feet"


def test_without_directions_nobody_knows_how_it_lies():
    volume = read_volume(HEAD + b"ElementSpacing = 2 3 4\nElementDataFile = LOCAL\n" + b"\1\0\2\0", "x")
    assert (volume.grid.affine, volume.grid.spacing_ijk) == (None, (2, 3, 4))


def test_byte_order_compression_and_header_size():
    assert stored(HEAD + b"ElementDataFile = LOCAL\n" + b"\1\0\2\0") == [1, 2]
    assert stored(HEAD + b"BinaryDataByteOrderMSB = True\nElementDataFile = LOCAL\n" + b"\0\1\0\2") == [1, 2]
    packed = zlib.compress(b"\1\0\2\0")
    assert stored(HEAD + b"CompressedData = True\nElementDataFile = LOCAL\n" + packed) == [1, 2]
    assert stored(HEAD + b"HeaderSize = 3\nElementDataFile = LOCAL\n" + b"abc\1\0\2\0") == [1, 2]
    assert stored(HEAD + b"HeaderSize = -1\nElementDataFile = LOCAL\n" + b"abcde\1\0\2\0") == [1, 2]


@pytest.mark.parametrize(
    "line", [b"ElementNumberOfChannels = 3\n", b"BinaryData = False\n", b"ElementType = MET_ODD\n"]
)
def test_what_is_not_read_is_refused(line):
    with pytest.raises(MedclmError, match="not an image"):
        read_volume(HEAD + line + b"ElementDataFile = LOCAL\n" + b"\1\0\2\0", "x")


def test_missing_voxels(tmp_path):
    path = Path(metaimage(tmp_path / "a.mhd"))
    path.with_suffix(".raw").unlink()
    with pytest.raises(MedclmError, match="does not exist"):
        read_volume(path.read_bytes(), str(path), beside=True)


def test_as_simpleitk_reads_it(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1.0]])
    affine = LPS.copy()
    affine[:3, :3] = turn @ LPS[:3, :3]
    path = metaimage(tmp_path / "a.mhd", lps=affine)
    image = sitk.ReadImage(path)
    volume = read_volume(Path(path).read_bytes(), path, beside=True)
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.stored)
    assert np.array_equal(volume.stored, VALUES.transpose(2, 1, 0))
    for index in ((0, 0, 0), (3, 2, 1)):
        assert np.allclose(volume.grid.to_patient([index])[0], image.TransformIndexToPhysicalPoint(index))
