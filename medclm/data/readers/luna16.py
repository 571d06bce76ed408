"""LUNA16 (Setio et al. 2017): lung nodules as spheres in the patient, cut into boxes slice by slice.

``annotations.csv`` has ``seriesuid, coordX, coordY, coordZ, diameter_mm``: the centre in LPS+ millimetres ("world
coordinates" of the .mhd files) and the diameter. The set holds nodules of 3 mm and more that at least three of four
radiologists marked; smaller ones and those of fewer readers are not in it, so no slice is complete.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from medclm.data.grid import Grid
from medclm.data.readers.base import ReadResult, Refused, make_finding
from medclm.data.readers.rows import Row, read_rows
from medclm.data.readers.volume_folder import VolumeEntry, VolumeFolder
from medclm.data.records import BoxXyxy, Finding
from medclm.data.rejects import Reject
from medclm.errors import UsageError

READER = "luna16"
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
MIN_SHARE = 0.5
"""A slice shows a nodule where its cross-section has at least this share of the diameter: caps thinner than that are
blurred by the slice's thickness."""


def read_luna16(
    images: str, annotations: str, dataset: str, every: int = 0, min_share: float = MIN_SHARE
) -> ReadResult:
    """Read LUNA16.

    Args:
        images: folder of the volumes: ``SERIESUID.mhd`` with its ``.raw`` beside it as published, the same as ``.mha``,
            NIfTI or NRRD, or folders of DICOM series. Found by series UID, else by name.
        annotations: ``annotations.csv``, any fsspec address.
        dataset: name that the records carry.
        every: of the slices without a nodule, each ``every``-th along a volume becomes a record; 0 for none.
        min_share: see :data:`MIN_SHARE`, above 0 to 1.

    Returns:
        A record for each slice that cuts a nodule. The box is that of the sphere's cross-section; findings have the
        attribute ``diameter_mm``, the sphere's, and no mask. All are ``incomplete`` (see the module).

    Raises:
        UsageError: an option or folder is wrong. MedclmError: the table cannot be read or lacks a column.
    """
    if not 0 < min_share <= 1 or not isinstance(every, int) or every < 0:
        raise UsageError("min_share must be above 0 to 1, and every a whole number", got=f"{min_share}, {every}")
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(annotations, COLUMNS):
        rows[row.text("seriesuid")].append(row)
    folder = VolumeFolder(images, "CT")
    result = ReadResult([])
    used: set[str] = set()
    for entry in folder:
        uid = entry.series_uid if entry.series_uid in rows else entry.short_name
        used.add(uid)
        _volume(entry, rows.get(uid, []), result, dataset, every, min_share)
    for uid in rows.keys() - used:
        detail = "there is no volume of this series in the image folder"
        result.rejects.append(Reject(image_id=uid, where=rows[uid][0].where, reason="missing-image", detail=detail))
    ids = frozenset(record.image_id for record in result.records)
    return ReadResult(result.records, folder.rejects + result.rejects, ids)


def _volume(
    entry: VolumeEntry, rows: list[Row], result: ReadResult, dataset: str, every: int, min_share: float
) -> None:
    """Adds the records of one volume, and what of it is set aside."""
    findings: dict[int, list[Finding]] = defaultdict(list)
    for row in rows:
        try:
            for k, finding in _nodule(row, entry, min_share):
                findings[k].append(finding)
        except Refused as error:
            reject = Reject(
                image_id=entry.name, where=row.where, reason=error.reason, detail=error.detail,
                finding_id=f"{entry.name}:{row.index}",
            )  # fmt: skip
            result.rejects.append(reject)
    empty = [k for k in range(len(entry.grid)) if k not in findings]
    shown = sorted([*findings, *(empty[::every] if every else [])])
    result.records.extend(entry.record(k, dataset, READER, findings.get(k, ()), ()) for k in shown)


def _nodule(row: Row, entry: VolumeEntry, min_share: float) -> Iterator[tuple[int, Finding]]:
    """The nodule of a row on each slice that shows it.

    Raises:
        Refused: (bad-box) it is no sphere; (no-geometry) the volume does not say how it lies; (box-outside) the centre
            is not in the volume.
    """
    center = np.array([row.number(column) for column in COLUMNS[1:4]])
    diameter = row.number("diameter_mm")
    if diameter <= 0:
        raise Refused("bad-box", f"diameter_mm must be positive, got {diameter:g}")
    if entry.grid.affine is None:
        raise Refused("no-geometry", "the volume does not say how it lies in the patient")
    voxel = entry.grid.to_voxels(center[None])[0]
    if (voxel < -0.5).any() or (voxel > np.array(entry.grid.size_ijk) - 0.5).any():
        raise Refused("box-outside", f"the centre is at voxel {np.round(voxel, 1).tolist()}, outside of the volume")
    found = sphere_boxes(center, diameter, entry.grid, min_share)
    if not found:
        raise Refused("box-outside", "the nodule lies between two slices and no slice cuts it")
    for k, box in found:
        finding_id = f"{entry.image_id(k)}:{row.index}"
        attributes = {"diameter_mm": f"{diameter:.1f}"}
        yield k, make_finding(finding_id, "nodule", box, READER, attributes=attributes)


def sphere_boxes(
    center_mm: np.ndarray, diameter_mm: float, grid: Grid, min_share: float = MIN_SHARE
) -> list[tuple[int, BoxXyxy]]:
    """The boxes of a sphere's cross-sections.

    Slice k lies at a distance d from the centre, along the normal of the slices; the cross-section is a disc of radius
    sqrt(r² - d²) around the foot of the centre on the slice. Pixel borders are half a pixel from the centres.

    Args:
        center_mm: (3,) LPS+. grid: must say how it lies.

    Returns:
        (slice, box) of each slice whose disc has at least ``min_share`` of the diameter, and of the slice nearest to
        the centre where it cuts the sphere at all; boxes are clipped to the picture.
    """
    assert grid.affine is not None, "ask only where the volume says how it lies"
    axes = grid.affine[:3, :3]
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    step = float(axes[:, 2] @ normal)  # signed; slices may be sheared
    radius, nearest = diameter_mm / 2, float((center_mm - grid.affine[:3, 3]) @ normal) / step
    reach, in_plane = radius / abs(step), np.linalg.pinv(axes[:, :2])
    (height, width), found = grid.size_hw, []
    for k in range(max(0, math.ceil(nearest - reach)), min(len(grid), math.floor(nearest + reach) + 1)):
        disc = math.sqrt(max(radius**2 - ((k - nearest) * step) ** 2, 0.0))
        if disc == 0 or (disc < min_share * radius and k != round(nearest)):
            continue
        x, y = in_plane @ (center_mm - grid.affine[:3, 3] - k * axes[:, 2]) + 0.5
        half_x, half_y = disc / grid.spacing_ijk[0], disc / grid.spacing_ijk[1]
        box = (max(x - half_x, 0.0), max(y - half_y, 0.0), min(x + half_x, width), min(y + half_y, height))
        found.append((k, tuple(float(v) for v in box)))
    return found  # type: ignore[return-value]
