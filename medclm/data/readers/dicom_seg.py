"""DICOM segmentations (SEG): every segment on every slice as a finding or an organ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from medclm.data import boxes
from medclm.data.readers.base import ReadResult
from medclm.data.readers.dicom_index import FrameKey, index_images
from medclm.data.readers.dicom_records import ORGANS_AS, Gathered, annotation_objects, check_choice
from medclm.data.readers.dicom_segments import SegFile

READER = "dicom-seg"


def read_seg(
    images: str,
    annotations: str,
    dataset: str,
    threshold: float = 0.5,
    components: bool = False,
    label: str = "auto",
    organs_as: str = "organs",
    only_annotated: bool = False,
    complete: bool = False,
) -> ReadResult:
    """Read DICOM SEG objects.

    Args:
        images: folder of DICOM images, at any depth, any fsspec address.
        annotations: a SEG file or a folder with them.
        dataset: name that the records carry.
        threshold: share of the maximum from which a FRACTIONAL pixel belongs to its segment, above 0 to 1.
        components: whether each connected part (8 neighbours) of a segment on a slice is a finding of its own.
        label: "type" takes the meaning of Segmented Property Type, "segment" the Segment Label, a free text; "auto"
            the Segment Label where the vocabulary of findings or organs knows it, else the type.
        organs_as: segments that are organs (see :class:`medclm.data.readers.dicom_segments.Segment`) become "organs"
            of the record, "findings" like any other, or are left out ("skip").
        only_annotated: leave out images without a finding.
        complete: the objects annotate every image of the folder. Otherwise only images of the series that an object
            with findings refers to count as free of findings: one of organs alone says nothing about lesions.

    Raises:
        UsageError: an option, folder or file does not exist. MedclmError: the one file that was named is not DICOM.
    """
    check_choice("label", label, ("auto", "type", "segment"))
    check_choice("organs_as", organs_as, ORGANS_AS)
    gathered = Gathered(index_images(images), READER)
    for name, seg in annotation_objects(annotations, "SEG", gathered):
        with gathered.guarded(name):
            _gather(SegFile(seg, name, gathered.index, threshold, label), gathered, components, organs_as)
    return gathered.result(dataset, only_annotated, complete)


def organ_masks(images: str, annotations: str, threshold: float = 0.5) -> OrganMasks:
    """The organs of DICOM SEG objects, for a segmenter; arguments as :func:`read_seg` takes them.

    Returns:
        A mapping from SOP Instance UID (``UID/3`` for the 0-based frame 3 of a file with several) to {vocabulary
        name: (H, W) bool}. Masks are kept as run lengths and decoded when they are asked for. Every image of the folder
        is a key.
    """
    gathered = Gathered(index_images(images), READER)
    for name, seg in annotation_objects(annotations, "SEG", gathered):
        with gathered.guarded(name):
            file = SegFile(seg, name, gathered.index, threshold, "auto")
            for key, number, mask in file.masks(gathered):
                if organ := file.segments[number].organ:
                    gathered.add_organ(key, organ, mask)
    return OrganMasks(gathered)


class OrganMasks(Mapping[str, dict[str, np.ndarray]]):
    """See :func:`organ_masks`. ``rejects`` says what could not be used."""

    def __init__(self, gathered: Gathered) -> None:
        self._index, self._rles = gathered.index, gathered.organ_rles()
        self.rejects = gathered.index.rejects + gathered.rejects

    @cached_property
    def _keys(self) -> dict[str, FrameKey]:
        images = self._index.images
        return {key[0] if images[key[0]].frames == 1 else f"{key[0]}/{key[1]}": key for key in self._index.image_ids}

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        key = self._keys[name]
        size_hw = self._index.images[key[0]].size_hw
        return {organ: boxes.decode_rle(rle, size_hw) for organ, rle in sorted(self._rles.get(key, {}).items())}

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _gather(file: SegFile, gathered: Gathered, components: bool, organs_as: str) -> None:
    united: dict[tuple[FrameKey, int], str] = {}
    index = gathered.index
    for key, number, mask in file.masks(gathered):
        if (key, number) in united:
            mask = mask | boxes.decode_rle(united[key, number], index.images[key[0]].size_hw)
        united[key, number] = boxes.encode_rle(mask)
    for (key, number), rle in united.items():
        mask, segment = boxes.decode_rle(rle, index.images[key[0]].size_hw), file.segments[number]
        if segment.is_organ and organs_as != "findings":
            if segment.organ and organs_as == "organs":
                gathered.add_organ(key, segment.organ, mask)
            continue
        for part in _parts(mask) if components else [mask]:
            where = f"{file.name}: segment {number}"
            gathered.add(key, segment.label_raw, where, part, attributes=segment.attributes)
    if organs_as == "findings" or not all(segment.is_organ for segment in file.segments.values()):
        _cover(file, gathered, [key for key, _ in united])
    unknown = sorted(s.number for s in file.segments.values() if s.is_organ and not s.organ)
    if unknown and organs_as == "organs":
        gathered.notes.append(f"{file.name}: segments {unknown} are organs outside the vocabulary and were left out")


def _parts(mask: np.ndarray) -> Iterator[np.ndarray]:
    """The connected parts of a mask, in the order of their first pixel."""
    from scipy.ndimage import label

    numbered, count = label(mask, structure=np.ones((3, 3)))
    for n in range(1, count + 1):
        yield numbered == n


def _cover(file: SegFile, gathered: Gathered, keys: list[FrameKey]) -> None:
    """A SEG of findings covers the series that it refers to (PS3.3 C.12.2) and those it shows something on."""
    index = gathered.index
    series = {index.images[key[0]].series_uid for key in keys}
    series |= {str(item.SeriesInstanceUID) for item in file.seg.get("ReferencedSeriesSequence") or []}
    for uid in series:
        gathered.covered.update(index.series(uid))
