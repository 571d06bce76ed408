"""LUNA16: spheres cut by hand, slices in any orientation, and what is set aside."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclm.data import readers
from medclm.data.grid import grid_of
from medclm.data.readers.luna16 import read_luna16, sphere_boxes
from medclm.errors import MedclmError, UsageError
from tests.data import volume_arrays as arrays
from tests.data.readers import dicom_files as files
from tests.data.readers.pictures import boxes_of, reasons_of

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"
AFFINE = np.array([[0.5, 0, 0, -100], [0, 1, 0, -50], [0, 0, 3, 200], [0, 0, 0, 1.0]])
GRID = grid_of((40, 30, 5), AFFINE, (0, 0, 0))
HEAD = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"


def test_a_sphere_by_hand():
    # centre at column 20, row 10, slice 2; radius 5: slices 1 and 3 are 3 mm away, their discs have radius 4;
    # slices 0 and 4 are 6 mm away. Pixels are 0.5 mm wide and 1 mm high; their borders are half a pixel off.
    found = sphere_boxes(np.array([-90, -40, 206.0]), 10, GRID)
    assert found == [(1, (12.5, 6.5, 28.5, 14.5)), (2, (10.5, 5.5, 30.5, 15.5)), (3, (12.5, 6.5, 28.5, 14.5))]
    assert sphere_boxes(np.array([-90, -40, 206.0]), 10, GRID, min_share=0.9) == [found[1]]


def test_a_cap_is_no_nodule_unless_no_slice_is_nearer():
    # centre 1.4 mm above slice 2, radius 1.5: the disc is sqrt(2.25 - 1.96) = 0.539, less than half of the radius
    (k, box), = sphere_boxes(np.array([-90, -40, 207.4]), 3, GRID)  # fmt: skip
    assert k == 2
    assert box[2] - box[0] == pytest.approx(2 * math.sqrt(0.29) / 0.5)
    assert sphere_boxes(np.array([-90, -40, 207.5]), 2.9, GRID) == [], "between two slices"


def test_boxes_are_clipped_to_the_picture():
    ((_, box),) = sphere_boxes(np.array([-100, -50, 200.0]), 4, GRID, 0.9)
    assert box == (0, 0, 4.5, 2.5)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(5, 15)] * 3), st.floats(4, 8), st.floats(-0.6, 0.6), st.sampled_from([0, 1, 2]),
    st.sampled_from([1, -1]), st.floats(-0.3, 0.3),
)  # fmt: skip
def test_boxes_hold_the_voxels_of_the_sphere(center_ijk, radius, angle, axis, direction, shear):
    """On turned, flipped and sheared grids: every voxel centre inside the sphere is in its slice's box."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    others = [n for n in range(3) if n != axis]
    turn[np.ix_(others, others)] = [[c, -s], [s, c]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[1, 0, 0], [0, 1, shear], [0, 0, direction]])
    grid = grid_of((21, 21, 21), affine, (0, 0, 0))
    center = grid.to_patient([center_ijk])[0]
    found = dict(sphere_boxes(center, 2 * radius, grid, min_share=1e-6))
    ijk = np.stack(np.meshgrid(*[np.arange(21)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = ijk[np.linalg.norm(grid.to_patient(ijk) - center, axis=1) < radius - 1e-6]
    for k in np.unique(inside[:, 2]):
        x, y, _ = inside[inside[:, 2] == k].T
        x1, y1, x2, y2 = found[int(k)]
        assert (x1 - 1e-6 <= x.min() + 0.5) & (x.max() + 0.5 <= x2 + 1e-6)
        assert (y1 - 1e-6 <= y.min() + 0.5) & (y.max() + 0.5 <= y2 + 1e-6)
        assert max(x2 - x1 - np.ptp(x), y2 - y1 - np.ptp(y)) < 2 * radius, "the box is not wider than the sphere"


@pytest.fixture
def read(tmp_path):
    def _read(rows: str, **options):
        (tmp_path / "annotations.csv").write_text(HEAD + rows)
        return read_luna16(f"{tmp_path}/images", f"{tmp_path}/annotations.csv", "luna", **options)

    values = np.zeros((40, 30, 5), np.int16)
    arrays.metaimage(tmp_path / "images" / "subset0" / f"{UID}.mhd", values, AFFINE)
    return _read


def test_a_table(read, tmp_path):
    result = read(f"{UID},-90,-40,206,10\n{UID},-95,-45,200,4\n")
    assert boxes_of(result) == {
        f"{UID}-0000": [("nodule", (6.5, 3.5, 14.5, 7.5))],
        f"{UID}-0001": [("nodule", (12.5, 6.5, 28.5, 14.5))],
        f"{UID}-0002": [("nodule", (10.5, 5.5, 30.5, 15.5))],
        f"{UID}-0003": [("nodule", (12.5, 6.5, 28.5, 14.5))],
    }
    record = result.records[1]
    assert (record.modality, record.plane, record.patient_id) == ("CT", "axial", UID)
    assert (record.source.frame, record.source.uri) == (1, f"{tmp_path}/images/subset0/{UID}.mhd")
    assert record.findings[0].attributes == {"diameter_mm": "10.0"}
    assert record.findings[0].id == f"{UID}-0001:1"
    assert result.incomplete == {r.image_id for r in result.records}


def test_slices_without_nodules(read):
    result = read(f"{UID},-95,-45,200,4\n", every=2)
    assert [record.source.frame for record in result.records] == [0, 1, 3]


def test_what_is_set_aside(read):
    rows = f"{UID},-90,-40,206,10\n{UID},x,-40,206,10\n{UID},-90,-40,206,0\n{UID},-90,-40,500,10\n"
    result = read(rows + f"{UID},-90,-40,207.5,2\n9.9.9,1,2,3,4\n")
    assert len(result.records) == 3
    assert reasons_of(result) == [
        ("bad-box", UID, f"{UID}:2"),
        ("bad-box", UID, f"{UID}:3"),
        ("box-outside", UID, f"{UID}:4"),
        ("box-outside", UID, f"{UID}:5"),
        ("missing-image", "9.9.9", None),
    ]


def test_a_volume_that_does_not_say_how_it_lies(read, tmp_path):
    arrays.nifti(tmp_path / "images" / "u.nii", np.zeros((4, 3, 2), np.int16), None)
    result = read("u,0,0,0,4\n")
    assert reasons_of(result) == [("no-geometry", "u", "u:1")]


def test_a_dicom_series_is_found_by_its_uid(tmp_path):
    for k in range(3):
        files.save(files.ct_slice(k), tmp_path / "images" / "scan" / f"{k}.dcm")
    (tmp_path / "a.csv").write_text(f"{HEAD}{files.SERIES},-8,26,105,6\n")
    result = read_luna16(f"{tmp_path}/images", f"{tmp_path}/a.csv", "luna")
    # column (-8 + 10) / 0.5 = 4, row (26 - 20) / 2 = 3, radius 3 mm: 6 columns and 1.5 rows either way
    assert boxes_of(result) == {"scan-0001": [("nodule", (0, 2, 10, 5))]}


def test_wrong_input(read, tmp_path):
    for options in ({"min_share": 0}, {"min_share": 1.5}, {"every": -1}):
        with pytest.raises(UsageError):
            read("", **options)
    (tmp_path / "b.csv").write_text("seriesuid,x\n")
    with pytest.raises(MedclmError, match="lacks the columns"):
        read_luna16(f"{tmp_path}/images", f"{tmp_path}/b.csv", "luna")
    assert readers.FORMATS["luna16"].function == "luna16:read_luna16"
