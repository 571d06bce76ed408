"""Annotation readers: one small file each, all to the same record (:class:`medclm.data.readers.base.ReadResult`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from medclm.data.readers.base import ReadResult
from medclm.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One annotation format.

    Args:
        what: what ``annotations`` is, in a line.
        function: ``module:function`` below this package; imported when it is used.
        options: keyword options of the function with their fixed values; ``reader.KEY=VALUE`` of a build adds others.
        hu_offset: see :func:`hu_offset`.
        watermarked: published pictures with text on them that names no patient; they are not set aside for it.
        boxes: whether it says where lesions are; without, a build needs no organs.
    """

    what: str
    function: str
    options: tuple[tuple[str, Any], ...] = ()
    hu_offset: float | None = None
    watermarked: bool = False
    boxes: bool = True


FORMATS: dict[str, Format] = {
    "chestx-det": Format("ChestX-Det JSON: boxes and polygons", "chestxdet:read_chestxdet"),
    "chexpert": Format("CheXpert, train.csv: labels without boxes", "labels:read_chexpert", boxes=False),
    "coco": Format("COCO JSON: boxes, polygons, run lengths, attributes", "coco:read_coco"),
    "csv": Format("CSV of boxes, by the column map `columns`", "table:read_table"),
    "deeplesion": Format("DeepLesion, DL_info.csv", "deeplesion:read_deeplesion", hu_offset=-32768.0),
    "dicom-seg": Format("DICOM SEG: segments as lesions and organs", "dicom_seg:read_seg"),
    "dicom-sr": Format("DICOM SR of template TID 1500: measured regions", "dicom_sr:read_sr"),
    "gsps": Format("DICOM presentation states: drawn graphics and their text", "gsps:read_gsps"),
    "label-volume": Format("Label volumes (NIfTI, NRRD, MetaImage) of volumes", "label_volume:read_label_volumes"),
    "labels": Format("CSV of image-level labels, by the column map `columns`", "labels:read_labels", boxes=False),
    "luna16": Format("LUNA16, annotations.csv: nodules as spheres in volumes", "luna16:read_luna16"),
    "mimic-cxr": Format("MIMIC-CXR-JPG, *-chexpert.csv.gz: labels of studies", "labels:read_mimic_cxr", boxes=False),
    "nih": Format("NIH ChestX-ray14, BBox_List_2017.csv", "presets:read_nih"),
    "nih-labels": Format(
        "NIH ChestX-ray14, Data_Entry_2017.csv: labels without boxes", "labels:read_nih_labels", boxes=False
    ),
    "padchest": Format("PadChest, *_labels_160K.csv.gz: labels without boxes", "labels:read_padchest", boxes=False),
    "pathvqa": Format(
        "PathVQA: questions, *_qa.pkl or JSON", "vqa:read_vqa", (("source", "pathvqa"),), watermarked=True, boxes=False
    ),
    "pmc-vqa": Format(
        "PMC-VQA: four-way questions, CSV", "vqa:read_vqa", (("source", "pmc-vqa"),), watermarked=True, boxes=False
    ),
    "rsna": Format("RSNA pneumonia challenge, stage_2_train_labels.csv", "presets:read_rsna"),
    "rtstruct": Format("DICOM RT structure sets: contours", "rtstruct:read_rtstruct"),
    "siim": Format("SIIM-ACR pneumothorax, run lengths in CSV", "siim:read_siim"),
    "slake": Format(
        "SLAKE: questions, JSON, with boxes of lesions", "vqa:read_vqa", (("source", "slake"),), watermarked=True
    ),
    "vindr": Format("VinDr-CXR, CSV of several readers", "presets:read_vindr"),
    "voc": Format("Pascal VOC: folder of XML files", "voc:read_voc"),
    "vqa-rad": Format(
        "VQA-RAD: questions, JSON", "vqa:read_vqa", (("source", "vqa-rad"),), watermarked=True, boxes=False
    ),
    "yolo": Format("YOLO: folder of TXT files, boxes or polygons", "yolo:read_yolo"),
}
"""What ``--format`` takes."""


def read(format: str, images: str, annotations: str, dataset: str, options: dict[str, Any] | None = None) -> ReadResult:
    """Reads a dataset in one of :data:`FORMATS`.

    Raises:
        UsageError: the format or an option is unknown. MedclmError: the annotations cannot be read at all.
    """
    found = FORMATS.get(format)
    if found is None:
        known = "; ".join(f"{name} ({entry.what})" for name, entry in FORMATS.items())
        raise UsageError("there is no such annotation format", got=format, expected=known)
    module, _, name = found.function.partition(":")
    function: Callable[..., ReadResult] = getattr(import_module(f"{__name__}.{module}"), name)
    _check_options(format, function, options or {})
    return function(images, annotations, dataset, **{**dict(found.options), **(options or {})})


def segmenter_of(format: str, named: str) -> str:
    """The segmenter of a build: the one that was named; ``none`` for formats without boxes where none was.

    Raises:
        UsageError: none was named and the format has boxes, which must be linked to organs.
    """
    if named:
        return named
    found = FORMATS.get(format)
    if found is None or not found.boxes:
        return "none"
    raise UsageError(
        "no segmenter was named", where=f"format {format}", expected="--segmenter NAME[:ARG]: who finds the organs",
        remedy="`medclm data formats` lists them; `none` leaves the organs to the annotations",
    )  # fmt: skip


def hu_offset(reader: str) -> float | None:
    """What to add to the stored values of a raster image so that they are Hounsfield units.

    Args:
        reader: ``Source.reader`` of the record.

    Returns:
        None where the file itself says what its values mean, or nobody knows.
    """
    found = FORMATS.get(reader)
    return None if found is None else found.hu_offset


def _check_options(format: str, function: Callable[..., ReadResult], options: dict[str, Any]) -> None:
    import inspect

    known = list(inspect.signature(function).parameters)[3:]
    for key in options:
        if key not in known:
            expected = ", ".join(known) or "no options"
            raise UsageError(f"the reader {format!r} has no option {key!r}", expected=expected)
