"""Label volumes (NIfTI, NRRD, MetaImage): every connected part of a lesion on a slice is a finding with its mask.

A label volume belongs to the volume of its name. Both must have the same voxels in the patient, by their affines; their
axes may be in another order or direction. Boxes and masks are in pixels of the slice as
:func:`medclm.data.images.read_picture` gives it: of ``array[:, :, k].T`` for slice k of a NIfTI or NRRD file.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from medclm import storage
from medclm.data import anatomy, boxes
from medclm.data.grid import reordered
from medclm.data.label_files import LabelFile, read_labels
from medclm.data.readers.base import Listing, ReadResult, Refused, make_finding
from medclm.data.readers.volume_folder import VolumeEntry, VolumeFolder, volume_name
from medclm.data.records import Finding, Organ, Record
from medclm.data.rejects import Reject
from medclm.data.volume_files import SUFFIXES
from medclm.errors import MedclmError, UsageError

READER = "label-volume"


def read_label_volumes(
    images: str,
    annotations: str,
    dataset: str,
    labels: Mapping[int | str, str] | None = None,
    suffix: str = "",
    every: int = 10,
    modality: str = "",
) -> ReadResult:
    """Read volumes and the label volumes that go with them.

    Args:
        images: folder of NIfTI, NRRD and MetaImage files and of folders with one DICOM series each.
        annotations: folder of label volumes, at any depth, or one file. The labels of volume ``a`` are ``a`` +
            ``suffix``, in the same subfolder where several are called so; else the only ones in the same subfolder.
        dataset: name that the records carry.
        labels: what values mean, ``{1: nodule, 2: liver}``; a name of an organ makes an organ of the record, any other
            a finding, and "" is left out, as is 0. Without it the file's own names count: the segments of
            3D Slicer (NRRD), the table of TotalSegmentator (NIfTI).
        suffix: see ``annotations``, e.g. ``_seg``; needed where labels lie beside the images.
        every: of the slices without a finding, each ``every``-th along the volume becomes a record; 0 for none.
        modality: of files that do not say theirs, e.g. CT.

    Returns:
        One record a slice. Patient and study of a DICOM series are its own; those of a file are its name. A slice is
        complete unless a value on it means nothing, or all values mean organs: those say nothing about lesions.

    Raises:
        UsageError: a folder does not exist, an option is wrong, or images and labels cannot be told apart.
    """
    if not isinstance(every, int) or every < 0:
        raise UsageError("every must be a whole number, 0 for no slices without findings", got=every)
    names = _checked_labels(labels)
    files = _LabelFiles(images, annotations, suffix)
    folder = VolumeFolder(images, modality, without=suffix)
    gathered = _Gathered(dataset, every)
    for entry in folder:
        where = entry.name
        try:
            where, address = files.take(entry)
            gathered.volume(entry, _read(address, entry, names), where)
        except Refused as error:
            gathered.refuse(entry.name, where, error)
    for path in files.unused:
        gathered.refuse(volume_name(path), path, Refused("missing-image", "there is no image volume for these labels"))
    return ReadResult(gathered.records, folder.rejects + gathered.rejects, frozenset(gathered.incomplete))


def _checked_labels(labels: Mapping[int | str, str] | None) -> dict[int, str]:
    try:
        return {int(value): str(name or "").strip() for value, name in (labels or {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError("labels must map whole numbers to names", got=labels, expected="{1: nodule}") from error


class _LabelFiles:
    """The label volumes of ``annotations`` by what they are called and where they lie; each is used once."""

    def __init__(self, images: str, annotations: str, suffix: str) -> None:
        fs, path = storage.open_fs(annotations)
        if fs.isfile(path):
            self.unused = {posixpath.basename(path): annotations}
        elif not suffix and storage.open_fs(images)[1].rstrip("/") == path.rstrip("/"):
            what = "images and labels lie in one folder: nothing tells them apart"
            raise UsageError(what, where=images, remedy="reader.suffix=_seg")
        else:
            listing = Listing(annotations)
            self.unused = {p: listing.uri(p) for p in listing.files if p.lower().endswith(SUFFIXES)}
            self.unused = {p: uri for p, uri in self.unused.items() if volume_name(p).endswith(suffix)}
        self._named: dict[str, list[str]] = defaultdict(list)
        self._beside: dict[str, list[str]] = defaultdict(list)
        for found in self.unused:
            self._named[volume_name(found).removesuffix(suffix)].append(found)
            self._beside[posixpath.dirname(found)].append(found)

    def take(self, entry: VolumeEntry) -> tuple[str, str]:
        """The path, relative to ``annotations``, and the address of a volume's labels.

        Raises:
            Refused: (missing-image) there are none, or several could be meant.
        """
        named = [*self._named[entry.short_name], *(self._named[entry.name] if entry.name != entry.short_name else [])]
        same = [path for path in named if posixpath.dirname(path) == entry.folder]
        alone = self._beside[entry.folder] if entry.folder else []
        found = next((paths for paths in (same, named, alone) if paths), [])
        if len(found) != 1 or found[0] not in self.unused:
            got = ", ".join(found[:3]) or "none"
            raise Refused("missing-image", f"one label volume of {entry.name!r} is expected, there is: {got}")
        return found[0], self.unused.pop(found[0])


Layer = tuple[np.ndarray, dict[int, str]]
"""Labels as (slices, rows, columns) of a volume, and what their values mean."""


def _read(path: str, entry: VolumeEntry, names: dict[int, str]) -> list[Layer]:
    """The layers of a label file, most often one, laid on the volume.

    Raises:
        Refused: the file cannot be read, its values have no meaning, or it lies elsewhere.
    """
    try:
        layers = read_labels(path)
    except MedclmError as error:
        raise Refused("bad-segmentation", str(error)) from error
    return [_on_volume(layer, entry, names) for layer in layers]


def _on_volume(labels: LabelFile, entry: VolumeEntry, names: dict[int, str]) -> Layer:
    found = names or labels.names
    if not found:
        raise Refused("unknown-category", "nothing says what the values mean; set reader.labels, e.g. {1: nodule}")
    voxels = reordered(labels.values, labels.grid, entry.grid)
    if voxels is None:
        raise Refused("no-geometry", _misfit(labels.grid.affine, entry.grid.affine))
    return voxels, found


def _misfit(own: np.ndarray | None, wanted: np.ndarray | None) -> str:
    unknown = [what for what, affine in (("label volume", own), ("image volume", wanted)) if affine is None]
    if unknown:
        return f"the {' and the '.join(unknown)} does not say how it lies in the patient"
    return "the voxels of the label volume do not lie where those of the image volume do"


@dataclass
class _Gathered:
    """What is found in the label volumes, volume by volume."""

    dataset: str
    every: int
    records: list[Record] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)

    def refuse(self, image_id: str, where: str, error: Refused, finding_id: str | None = None) -> None:
        reject = Reject(image_id=image_id, where=where, reason=error.reason, detail=error.detail, finding_id=finding_id)
        self.rejects.append(reject)

    def volume(self, entry: VolumeEntry, layers: list[Layer], where: str) -> None:
        """Adds the records of one volume."""
        means = [(value, name) for _, names in layers for value, name in names.items()]
        skipped, of_lesions = 0, any(value and name and not _organ(name) for value, name in means)
        for k in range(len(layers[0][0])):
            here = [_Slice(voxels[k], names) for voxels, names in layers]
            findings = list(_findings(here, entry.image_id(k)))
            unknown = sorted({value for one in here for value in one.unknown})
            if not findings and not unknown:
                skipped += 1
                if not self.every or (skipped - 1) % self.every:
                    continue
            organs = _organs(here)
            self.records.append(entry.record(k, self.dataset, READER, findings, organs))
            if unknown or not of_lesions:
                self.incomplete.add(entry.image_id(k))
            for value in unknown:
                error = Refused("unknown-category", f"nothing says what the value {value} means")
                self.refuse(entry.image_id(k), f"{where}: slice {k}", error, f"{entry.image_id(k)}:value-{value}")


@dataclass
class _Slice:
    """The labels of one layer on one slice.

    Attributes:
        names: of the values that are there and mean something, in their order.
        unknown: the values that are there and mean nothing.
    """

    labels: np.ndarray
    names: dict[int, str]

    def __post_init__(self) -> None:
        present = {int(v) for v in np.unique(self.labels) if v} if self.labels.any() else set()
        self.unknown = sorted(present - self.names.keys())
        self.names = {value: self.names[value] for value in sorted(present & self.names.keys()) if self.names[value]}


def _findings(layers: list[_Slice], image_id: str) -> Iterator[Finding]:
    """Each connected part (8 neighbours) of a value that is no organ, numbered by layer, value, then first pixel."""
    from scipy.ndimage import find_objects, label

    number = 0
    for layer, value, name in ((one, *item) for one in layers for item in one.names.items()):
        if _organ(name):
            continue
        parts, _ = label(layer.labels == value, structure=np.ones((3, 3)))
        for n, (rows, cols) in enumerate(find_objects(parts), start=1):
            number += 1
            box = (float(cols.start), float(rows.start), float(cols.stop), float(rows.stop))
            rle, size_hw = boxes.encode_rle(parts == n), parts.shape
            yield make_finding(f"{image_id}:{number}", name, box, READER, size_hw, rle)


def _organ(name: str) -> str | None:
    """The vocabulary's name of an organ; None for a finding and for a word that it does not know."""
    return None if anatomy.finding_name(name) else anatomy.organ_name(name)


def _organs(layers: list[_Slice]) -> Iterator[Organ]:
    """The organs among the values; several values of one organ are united."""
    masks: dict[str, np.ndarray] = {}
    for layer in layers:
        for value, name in layer.names.items():
            if organ := _organ(name):
                mask = layer.labels == value
                masks[organ] = masks[organ] | mask if organ in masks else mask
    for organ, mask in sorted(masks.items()):
        yield Organ(
            name=organ, side=anatomy.organs()[organ].side, box_xyxy=boxes.box_from_mask(mask),
            area_px=int(mask.sum()), rle=boxes.encode_rle(mask), source=READER,
        )  # type: ignore[arg-type]  # fmt: skip
