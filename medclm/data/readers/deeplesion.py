"""DeepLesion (Yan et al. 2018): lesions bookmarked by radiologists on one key slice each of a CT series.

The table is ``DL_info.csv``, the slices are 16-bit PNG of HU + 32768 (:func:`medclm.data.readers.hu_offset`), either as
published, ``000001_01_01/109.png``, or flat, ``000001_01_01_109.png``. Boxes are corners in pixels from 0, five pixels
wider on each side than the two measured diameters. Only some of an image's lesions are bookmarked: all images are
``incomplete``.
"""

from __future__ import annotations

import re

from medclm.data.readers.base import ReadResult, Refused, make_finding
from medclm.data.readers.collect import Collector
from medclm.data.readers.rows import Row, read_rows
from medclm.data.records import Spacing

KINDS = {
    "1": "bone",
    "2": "abdomen",
    "3": "mediastinum",
    "4": "liver",
    "5": "lung",
    "6": "kidney",
    "7": "soft tissue",
    "8": "pelvis",
    "-1": "unknown",
}
"""``Coarse_lesion_type``: where the lesion is; -1 where nobody said (all of the training part)."""
SPLITS = {"1": "train", "2": "validate", "3": "test"}
NAME = re.compile(r"((\d{6})_(\d{2}))_(\d{2})_(\d{3})\.png")
"""Patient, study, series and slice."""
COLUMNS = (
    "File_name", "Key_slice_index", "Bounding_boxes", "Lesion_diameters_Pixel_", "Coarse_lesion_type", "Possibly_noisy",
    "Spacing_mm_px_", "DICOM_windows", "Train_Val_Test",
)  # fmt: skip


def read_deeplesion(images: str, annotations: str, dataset: str, noisy: bool = True) -> ReadResult:
    """Read DeepLesion.

    Args:
        images: folder of the PNG files, any fsspec address.
        annotations: ``DL_info.csv``, any fsspec address.
        dataset: name that the records carry.
        noisy: keep the lesions that the dataset's authors flag as possibly noisy; the attribute says so.

    Returns:
        Findings have the attributes ``key_slice``, ``long_diameter_mm``, ``short_diameter_mm``, ``lesion_type``,
        ``possibly_noisy`` and ``window_hu`` (the radiologist's, lower and upper end). Image ids are the names of the
        table without ``.png``.

    Raises:
        UsageError: there is no image folder. MedclmError: the table cannot be read or lacks a column.
    """
    collector = Collector(images, dataset, "deeplesion", skip=(".csv",))
    flat = {"_".join(path.split("/")[-2:]): path for path in collector.listing.files}
    flat |= {
        path.rpartition("/")[2]: path for path in collector.listing.files if NAME.fullmatch(path.rpartition("/")[2])
    }
    left_out = 0
    for row in read_rows(annotations, COLUMNS):
        name = row.cells.get("File_name", "")
        image_id = _image(name, row, flat, collector)
        if image_id is None:
            continue
        finding_id = f"{image_id}:{row.index}"
        with collector.entry(image_id, row.where, finding_id):
            _describe(row, name, image_id, collector)
            if not noisy and row.text("Possibly_noisy") == "1":
                left_out += 1
                continue
            _lesion(row, image_id, finding_id, collector)
    collector.incomplete.update(collector)
    if left_out:
        collector.notes.append(f"{left_out} possibly noisy lesions were left out")
    return collector.result(modality="CT", plane="axial")


def _image(name: str, row: Row, flat: dict[str, str], collector: Collector) -> str | None:
    if NAME.fullmatch(name) is None:
        error = Refused("bad-row", f"File_name must look like 000001_01_01_109.png, got {name!r}")
        collector.refuse(error, name, row.where)
        return None
    return collector.image(name, row.where, image_id=name.removesuffix(".png"), path=flat.get(name, ""))


def _describe(row: Row, name: str, image_id: str, collector: Collector) -> None:
    """Adds what the row says of its image."""
    parts = NAME.fullmatch(name)
    assert parts is not None, "checked with the name"
    try:
        x_mm, y_mm, _ = row.numbers("Spacing_mm_px_", 3)  # the third is the distance of slices
    except Refused as error:
        raise Refused("bad-row", error.detail) from error
    if x_mm <= 0 or y_mm <= 0:
        raise Refused("bad-row", f"Spacing_mm_px_ must be positive, got {row.text('Spacing_mm_px_')!r}")
    split = row.text("Train_Val_Test")
    if split not in SPLITS:
        raise Refused("bad-row", f"Train_Val_Test must be 1, 2 or 3, got {split!r}")
    spacing = Spacing(row=y_mm, col=x_mm)
    collector.describe(image_id, patient_id=parts[2], study_id=parts[1], split=SPLITS[split], spacing_mm=spacing)


def _lesion(row: Row, image_id: str, finding_id: str, collector: Collector) -> None:
    kind = row.text("Coarse_lesion_type")
    if kind not in KINDS:
        raise Refused("bad-annotation", f"Coarse_lesion_type must be 1 to 8 or -1, got {kind!r}")
    x1, y1, x2, y2 = row.numbers("Bounding_boxes", 4)
    long_px, short_px = row.numbers("Lesion_diameters_Pixel_", 2)
    mm = row.numbers("Spacing_mm_px_", 3)[0]  # pixels are square in every series
    attributes = {
        "key_slice": row.text("Key_slice_index"),
        "long_diameter_mm": f"{long_px * mm:.1f}",
        "short_diameter_mm": f"{short_px * mm:.1f}",
        "lesion_type": KINDS[kind],
        "possibly_noisy": "yes" if row.text("Possibly_noisy") == "1" else "no",
        "window_hu": row.text("DICOM_windows"),
    }
    collector.add(image_id, make_finding(finding_id, kind, (x1, y1, x2, y2), "deeplesion", attributes=attributes))
