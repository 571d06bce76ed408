"""A tiny volume whose every voxel tells where it lies, in every format."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np

SIZE = (4, 3, 2)
VALUES = np.arange(24, dtype=np.int16).reshape(SIZE, order="F")
"""Voxel (i, j, k) is i + 4 j + 12 k."""
LPS = np.array([[0.5, 0, 0, 10], [0, 2, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
"""Columns run to the left by 0.5 mm, rows to the back by 2 mm, slices to the head by 5 mm."""
RAS = np.diag([-1.0, -1, 1, 1]) @ LPS


def nifti(path: Path, values: np.ndarray = VALUES, lps: np.ndarray | None = LPS) -> str:
    """Without ``lps``, a file with both codes 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = None if lps is None else np.diag([-1.0, -1, 1, 1]) @ lps
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return str(path)


def write_nrrd(path: Path, values: np.ndarray = VALUES, lps: np.ndarray = LPS, **header: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    base = {"space": "left-posterior-superior", "space directions": lps[:3, :3].T, "space origin": lps[:3, 3]}
    detached = path.suffix == ".nhdr"
    nrrd.write(str(path), values, {**base, **header}, detached_header=detached)
    return str(path)


def metaimage(path: Path, values: np.ndarray = VALUES, lps: np.ndarray = LPS, **more: str) -> str:
    """``.mha``, or ``.mhd`` with ``.raw``; ``more`` are header lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    kinds = {"int16": "MET_SHORT", "uint8": "MET_UCHAR", "float32": "MET_FLOAT"}
    lines = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": " ".join(map(str, (lps[:3, :3] / spacing).T.ravel())),
        "Offset": " ".join(map(str, lps[:3, 3])), "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(map(str, spacing)), "DimSize": " ".join(map(str, values.shape)),
        "ElementType": kinds[values.dtype.name], **more,
        "ElementDataFile": more.get("ElementDataFile", "LOCAL" if path.suffix == ".mha" else f"{path.stem}.raw"),
    }  # fmt: skip
    head = "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()
    voxels = values.tobytes(order="F")
    path.write_bytes(head + (voxels if path.suffix == ".mha" else b""))
    if path.suffix == ".mhd":
        path.with_suffix(".raw").write_bytes(voxels)
    return str(path)


def write_layers(path: Path) -> str:
    """Segments as 3D Slicer writes those that overlap: liver and spleen in a layer, a cyst of the liver in another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = np.zeros((2, *SIZE), np.uint8)  # layer, column, row, slice
    layers[0, 0:2, 0, 0], layers[0, 3, 2, 1], layers[1, 1, 0, 0] = 1, 2, 1
    names = {"Segment0": ("liver", 1, 0), "Segment1": ("spleen", 2, 0), "Segment2": ("cyst", 1, 1)}
    segments = {
        f"{segment}_{key}": str(value)
        for segment, values in names.items()
        for key, value in zip(("Name", "LabelValue", "Layer"), values, strict=True)
    }
    header = {
        "space": "left-posterior-superior", "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), LPS[:3, :3].T]), "space origin": LPS[:3, 3],
    }  # fmt: skip
    nrrd.write(str(path), layers, {**header, **segments})
    return str(path)
