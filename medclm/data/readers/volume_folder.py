"""The volumes of an image folder: NIfTI, NRRD and MetaImage files, and folders of DICOM series. No pixels are read."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from medclm.data.grid import Grid
from medclm.data.readers.base import Listing
from medclm.data.records import Finding, Organ, Record, Source
from medclm.data.rejects import Reject
from medclm.data.volume_files import SUFFIXES, read_grid
from medclm.data.volume_series import find_series
from medclm.data.volumes import SliceFile
from medclm.errors import MedclmError

_NO_SLICES = (".raw", ".zraw", ".gz", ".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".pdf", ".png", ".jpg", ".zip")
"""Endings of files that are no slice of a DICOM series, lower case."""


@dataclass(frozen=True)
class VolumeEntry:
    """One volume.

    Args:
        name: the short name where no other volume has it, else the path with "-" for "/"; image ids begin with it.
        short_name: the file's name without its endings, or the folder's name.
        folder: relative to the image folder, where the file or the folder of the series lies.
        address: ``Source.volume`` of its slices.
        series_uid: of a DICOM series, else "".
    """

    name: str
    short_name: str
    folder: str
    address: str
    grid: Grid
    slices: tuple[SliceFile, ...]
    modality: str
    patient_id: str
    study_id: str = ""
    series_uid: str = ""

    def record(self, k: int, dataset: str, reader: str, findings: Iterable[Finding], organs: Iterable[Organ]) -> Record:
        """The record of slice ``k``: image id ``NAME-0007`` for slice 7."""
        return Record(
            image_id=self.image_id(k),
            patient_id=self.patient_id,
            study_id=self.study_id,
            dataset=dataset,
            modality=self.modality,
            plane=self.grid.plane,
            spacing_mm=self.grid.spacing_mm,
            source=Source(uri=self.slices[k].uri, reader=reader, frame=self.slices[k].frame, volume=self.address),
            findings=tuple(findings),
            organs=tuple(organs),
        )

    def image_id(self, k: int) -> str:
        """See :meth:`record`."""
        return f"{self.name}-{k:04d}"


def volume_name(path: str) -> str:
    """The name of a volume file, without folders and endings (``.nii.gz``, ``.seg.nrrd``)."""
    name = posixpath.basename(path)
    for suffix in (".seg.nrrd", ".nii.gz", *SUFFIXES):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


class VolumeFolder:
    """The volumes under a folder, in the order of their paths.

    A file is one patient's; where several files have one name (``case1/t1.nii``, ``case2/t1.nii``) the folder is the
    patient. A series has the patient of its header.

    Args:
        images: the folder, any fsspec address. Every file with a volume's ending is a volume; every folder that holds
            files without an ending or with one of DICOM's is taken for one DICOM series.
        modality: of files that do not say theirs.
        without: ending of names (before the file's own ending) of files that are no images, e.g. "_seg".

    Attributes:
        rejects: what could not be used, filled while the volumes are gone through.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, images: str, modality: str = "", without: str = "") -> None:
        self._listing = Listing(images)
        self._modality = modality
        self.rejects: list[Reject] = []
        files = [path for path in self._listing.files if path.lower().endswith(SUFFIXES)]
        files = [path for path in files if not (without and volume_name(path).endswith(without))]
        slices = (path for path in self._listing.files if _may_be_dicom(path))
        root = posixpath.basename(images.rstrip("/"))
        self._short = {path: volume_name(path) for path in files}
        self._short |= {path: posixpath.basename(path) or root for path in sorted({*map(posixpath.dirname, slices)})}
        self._files = frozenset(files)

    def __iter__(self) -> Iterator[VolumeEntry]:
        """Each volume whose header can be read."""
        times = Counter(self._short.values())
        for path in sorted(self._short):
            short = self._short[path]
            name = short if times[short] == 1 else "-".join([*posixpath.dirname(path).split("/"), short]).strip("-")
            try:
                entry = self._file(path, name) if path in self._files else self._series(path, name)
            except MedclmError as error:
                self.rejects.append(Reject(image_id=name, where=path, reason="unreadable-image", detail=str(error)))
                continue
            if entry is not None:
                yield entry

    def _file(self, path: str, name: str) -> VolumeEntry:
        address, short = self._listing.uri(path), self._short[path]
        grid = read_grid(address)
        slices = tuple(SliceFile(address, k) for k in range(len(grid)))
        patient_id = name if name == short else posixpath.dirname(path)
        return VolumeEntry(name, short, posixpath.dirname(path), address, grid, slices, self._modality, patient_id)

    def _series(self, path: str, name: str) -> VolumeEntry | None:
        address = self._listing.uri(path) if path else self._listing.folder
        found = find_series(address)
        if found is None:
            return None
        modality, patient_id = found.modality or self._modality, found.patient_id or found.study_id or name
        return VolumeEntry(
            name, self._short[path], posixpath.dirname(path), address, found.grid, found.slices, modality, patient_id,
            found.study_id, found.series_uid,
        )  # fmt: skip


def _may_be_dicom(path: str) -> bool:
    """By its name: UIDs have dots, so an ending tells only where it is a known one."""
    return not path.lower().endswith((*SUFFIXES, *_NO_SLICES)) and not posixpath.basename(path).startswith(".")
