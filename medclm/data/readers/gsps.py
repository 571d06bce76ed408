"""DICOM grayscale softcopy presentation states: drawn graphics as findings, their text as the label.

Graphic Data (PS3.3 C.10.5) are column\\row pairs. In PIXEL units 0.0\\0.0 is the outer corner of the first pixel, as
here. In DISPLAY units 0.0\\0.0 and 1.0\\1.0 are the corners of the displayed area after rotation and flip; that area
is given by its corner *pixels*, counted from 1\\1 in the untransformed image (C.10.4), so both pixels belong to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from medclm.data import anatomy
from medclm.data.readers.base import ReadResult, Refused
from medclm.data.readers.dicom_index import FrameKey, index_images
from medclm.data.readers.dicom_records import Gathered, annotation_objects, check_choice
from medclm.data.readers.dicom_shapes import from_graphic

READER = "gsps"
DIRECTIONS = {0: ((1, 0), (0, 1)), 90: ((0, -1), (1, 0)), 180: ((-1, 0), (0, -1)), 270: ((0, 1), (-1, 0))}
"""Image Rotation (0070,0042), clockwise, to the image directions (x, y) of the display's right and down (C.10.6)."""


def read_gsps(
    images: str,
    annotations: str,
    dataset: str,
    label: str = "lesion",
    texts: str = "vocabulary",
    only_annotated: bool = False,
    complete: bool = False,
) -> ReadResult:
    """Read the graphic annotations of presentation states.

    Args:
        images: folder of DICOM images, at any depth, any fsspec address.
        annotations: a presentation state file or a folder with them.
        dataset: name that the records carry.
        label: of a graphic whose text gives none.
        texts: "vocabulary" takes from a text object only the finding that it names, and only when it names one; such
            texts are free, and hold measurements and names. "all" takes the whole text as the label.
        only_annotated: leave out images without a finding.
        complete: the states annotate every image of the folder. Otherwise an image without a graphic is not taken as
            free of findings.

    Returns:
        One finding for each closed graphic and image. Points and open lines are set aside as ``no-geometry``. Compound
        graphics are not looked at: the graphic objects that stand for them (C.10.5.1.3) are.

    Raises:
        UsageError: an option, folder or file does not exist. MedclmError: the one file that was named is not DICOM.
    """
    check_choice("texts", texts, ("vocabulary", "all"))
    gathered = Gathered(index_images(images), READER)
    for name, state in annotation_objects(annotations, "PR", gathered):
        with gathered.guarded(name):
            for n, annotation in enumerate(state.get("GraphicAnnotationSequence") or [], 1):
                _add(state, annotation, f"{name}: annotation {n}", gathered, (label, texts))
    return gathered.result(dataset, only_annotated, complete)


def _add(state: Any, annotation: Any, where: str, gathered: Gathered, labels: tuple[str, str]) -> None:
    """The graphics of one item, on every picture that it applies to."""
    graphics = annotation.get("GraphicObjectSequence") or []
    if not graphics:
        gathered.lose(where, Refused("no-geometry", "a text without a graphic"), image_id=_first_uid(state, annotation))
    for uid, number in _references(state, annotation):
        for n, graphic in enumerate(graphics, 1):
            place = f"{where}, graphic {n}"
            with gathered.guarded(place, image_id=uid):
                key = gathered.index.key(uid, number)
                size_hw = gathered.index.images[uid].size_hw
                points = to_pixels(graphic.GraphicData, str(graphic.GraphicAnnotationUnits), state, key)
                with gathered.guarded(place, key):
                    shape = from_graphic(str(graphic.GraphicType), points, size_hw)
                    text = _nearest_text(annotation, np.array(shape.box_xyxy), state, key)
                    mask = shape.mask if shape.mask.any() else None
                    gathered.add(key, label_of(text, *labels), place, mask, shape.box_xyxy)


def label_of(text: str, label: str, texts: str) -> str:
    """The label of a graphic; see :func:`read_gsps`."""
    if texts == "all":
        return " ".join(text.split()) or label
    whole = anatomy.finding_name(text)
    named = {whole} if whole else anatomy.findings_named(text)
    return named.pop() if len(named) == 1 else label


def _references(state: Any, annotation: Any) -> Iterator[tuple[str, int | None]]:
    """UID and frame number (from 1 on; None for the only one) of the pictures that an item applies to: its own list,
    else every image of the state (C.10.5, C.11.11)."""
    series = state.get("ReferencedSeriesSequence") or []
    every = [image for item in series for image in item.get("ReferencedImageSequence") or []]
    for image in annotation.get("ReferencedImageSequence") or every:
        numbers = image.get("ReferencedFrameNumber")
        for number in [None] if numbers is None else np.atleast_1d(numbers).tolist():
            yield str(image.ReferencedSOPInstanceUID), None if number is None else int(number)


def _first_uid(state: Any, annotation: Any) -> str:
    return next((uid for uid, _ in _references(state, annotation)), "")


def to_pixels(data: Any, units: str, state: Any, key: FrameKey) -> np.ndarray:
    """Graphic data as (N, 2) x, y from the outer corner of the image's first pixel.

    Raises:
        Refused: (no-geometry) the units are MATRIX, or DISPLAY and no displayed area is given for the picture.
    """
    points = np.asarray(data, dtype=np.float64).reshape(-1, 2)
    if units == "PIXEL":
        return points
    if units != "DISPLAY":
        raise Refused("no-geometry", f"graphics in units of {units} are not read")
    area = _displayed_area(state, key)
    degrees = int(state.get("ImageRotation") or 0) % 360
    if degrees not in DIRECTIONS:
        raise Refused("bad-annotation", f"the image is rotated by {degrees} degrees")
    right, down = (np.array(direction) for direction in DIRECTIONS[degrees])
    if str(state.get("ImageHorizontalFlip") or "N") == "Y":  # after the rotation, C.10.6
        right = -right
    first, last = (np.asarray(area[name].value, dtype=np.float64) for name in _CORNERS)
    toward = right + down  # +1 or -1 along each image axis
    outer = np.where(toward > 0, first - 1, first)
    span = np.abs(last - first) + 1
    return outer + points[:, :1] * right * span + points[:, 1:] * down * span


_CORNERS = ("DisplayedAreaTopLeftHandCorner", "DisplayedAreaBottomRightHandCorner")


def _displayed_area(state: Any, key: FrameKey) -> Any:
    """The displayed area selection of a picture: the item that names it, else one for all."""
    items = state.get("DisplayedAreaSelectionSequence") or []
    for item in items:
        references = item.get("ReferencedImageSequence")
        if not references or key in {(u, (n or 1) - 1) for u, n in _references(state, item)}:
            return item
    raise Refused("no-geometry", "no displayed area is given for the image")


def _nearest_text(annotation: Any, box: np.ndarray, state: Any, key: FrameKey) -> str:
    """The text of the item whose anchor (else whose bounding box) is nearest to the graphic; "" for none."""
    found: list[tuple[float, str]] = []
    center = (box[:2] + box[2:]) / 2
    for item in annotation.get("TextObjectSequence") or []:
        if item.get("AnchorPoint"):
            where, units = item.AnchorPoint, item.get("AnchorPointAnnotationUnits")
        else:
            corners = np.array([item[f"BoundingBox{corner}HandCorner"].value for corner in ("TopLeft", "BottomRight")])
            where, units = corners.mean(axis=0), item.get("BoundingBoxAnnotationUnits")
        point = to_pixels(where, str(units), state, key)[0]
        found.append((float(np.hypot(*(point - center))), str(item.get("UnformattedTextValue") or "")))
    return min(found, key=lambda entry: entry[0])[1] if found else ""
