"""NIfTI headers: versions, byte orders, scaling, units and codes, with nibabel as the oracle."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medclm.data.volume_files import read_volume
from tests.data.volume_arrays import LPS, RAS, VALUES


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_versions_byte_orders_and_types(kind, order, dtype):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    volume = read_volume(kind(VALUES.astype(dtype), RAS, header).to_bytes(), "x")
    assert np.array_equal(volume.stored, VALUES.transpose(2, 1, 0))
    assert np.allclose(volume.grid.affine, LPS)


def test_slope_and_intercept_make_modality_units():
    image = nibabel.Nifti1Image(VALUES, RAS)
    data = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(data[:348]))
    header.set_slope_inter(2, -1024)
    data[:348] = header.binaryblock
    volume = read_volume(bytes(data), "x")
    assert (volume.slope, volume.intercept) == (2, -1024)
    assert volume.picture(0).values[1, 2] == 2 * 6 - 1024
    expected = np.asarray(nibabel.Nifti1Image.from_bytes(bytes(data)).dataobj)
    assert np.array_equal(volume.values.transpose(2, 1, 0), expected)


def test_without_codes_nobody_knows_how_it_lies():
    image = nibabel.Nifti1Image(VALUES, None)
    image.header.set_zooms((0.5, 2, 5))
    grid = read_volume(image.to_bytes(), "x").grid
    assert (grid.affine, grid.spacing_ijk) == (None, (0.5, 2, 5))


def test_the_qform_counts_where_there_is_no_sform():
    image = nibabel.Nifti1Image(VALUES, None)
    image.set_qform(RAS, code=1)
    assert np.allclose(read_volume(image.to_bytes(), "x").grid.affine, LPS, atol=1e-5)


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)])
def test_units_of_length(unit, mm):
    image = nibabel.Nifti1Image(VALUES, RAS)
    image.header.set_xyzt_units(unit)
    grid = read_volume(image.to_bytes(), "x").grid
    assert np.allclose(grid.affine[:3], LPS[:3] * mm)
    assert np.allclose(grid.spacing_ijk, np.array([0.5, 2, 5]) * mm)
