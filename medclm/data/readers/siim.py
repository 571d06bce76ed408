"""SIIM-ACR pneumothorax: a CSV of ``ImageId, EncodedPixels``, one row a mask.

The code is pairs of (gap, run): pixels to leave out since the end of the last run, then pixels to set, down the columns
from left to right; what is left after the last run is empty. Those are COCO's counts without the last one. ``-1`` says
that there is no pneumothorax.
"""

from __future__ import annotations

from medclm.data import boxes
from medclm.data.readers.base import ReadResult, Refused, make_finding
from medclm.data.readers.collect import Collector
from medclm.data.readers.rows import Row, read_rows
from medclm.data.sizes import read_sizes
from medclm.errors import MedclmError, UsageError

LABEL = "Pneumothorax"


def read_siim(images: str, annotations: str, dataset: str, size_hw: tuple[int, int] | None = None) -> ReadResult:
    """Read SIIM-ACR masks; the box is the mask's. Images that no row names are left out.

    Args:
        images: folder of the images (DICOM as published, or PNG), any fsspec address; any folders below it.
        annotations: ``train-rle.csv``, any fsspec address.
        dataset: name that the records carry.
        size_hw: of every image, (1024, 1024) as published; None reads it from the header of each image with a mask.

    Raises:
        UsageError: there is no image folder. MedclmError: the table cannot be read or lacks a column.
    """
    if size_hw is not None and (len(size_hw) != 2 or not all(isinstance(v, int) and v > 0 for v in size_hw)):
        raise UsageError("size_hw must be height and width in pixels", got=size_hw)
    collector = Collector(images, dataset, "siim", skip=(".csv",))
    masks: list[tuple[str, Row]] = []
    for row in read_rows(annotations, ("ImageId", "EncodedPixels")):
        image_id = collector.image(row.cells.get("ImageId", ""), row.where)
        if image_id is not None and row.cells.get("EncodedPixels") != "-1":
            masks.append((image_id, row))
    marked = list(dict.fromkeys(image_id for image_id, _ in masks))
    sizes = dict.fromkeys(marked, size_hw) if size_hw else _sizes(marked, collector)
    for image_id, row in masks:
        if (known := sizes.get(image_id)) is not None:
            finding_id = f"{image_id}:{row.index}"
            with collector.entry(image_id, row.where, finding_id):
                rle = rle_of(row.text("EncodedPixels"), (known[0], known[1]))
                box = boxes.box_from_mask(boxes.decode_rle(rle, (known[0], known[1])))
                collector.add(image_id, make_finding(finding_id, LABEL, box, "siim", mask_rle=rle))
    return collector.result(plane="frontal")


def _sizes(image_ids: list[str], collector: Collector) -> dict[str, tuple[int, int]]:
    """Sizes by image id; an image without one is set aside."""
    sizes: dict[str, tuple[int, int]] = {}
    uris = [collector.uri(image_id) for image_id in image_ids]
    for image_id, uri, size in zip(image_ids, uris, read_sizes(uris), strict=True):
        if isinstance(size, MedclmError):
            collector.drop(Refused("unreadable-image", str(size)), image_id, uri)
        else:
            sizes[image_id] = size
    return sizes


def rle_of(encoded: str, size_hw: tuple[int, int]) -> str:
    """SIIM's code as the compressed string of :func:`medclm.data.boxes.encode_rle`.

    Raises:
        Refused: (bad-segmentation) it is no such code, leaves the picture, or sets no pixel.
    """
    try:
        counts = [int(part) for part in encoded.split()]
        if len(counts) % 2 or sum(counts[1::2]) == 0:
            raise ValueError("it must be pairs of gap and run that set some pixel")
        return boxes.rle_from_counts([*counts, size_hw[0] * size_hw[1] - sum(counts)], size_hw)
    except (ValueError, OverflowError) as error:
        raise Refused("bad-segmentation", f"the run lengths cannot be read: {error}") from error
