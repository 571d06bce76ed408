"""Records of a DICOM folder: findings gathered picture by picture, then one record an image, for all DICOM readers.

What a reader knows about *absence* differs, and this is where it is kept straight: a picture is complete (its negatives
can be trusted) only where an annotation object covers it, lost nothing on it, or the caller says that the objects
annotate every image of the folder.
"""

from __future__ import annotations

import io
import posixpath
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medclm import storage
from medclm.data import anatomy, boxes
from medclm.data.dicom import is_dicom
from medclm.data.readers.base import ReadResult, Refused, make_finding
from medclm.data.readers.dicom_index import BLOCK_BYTES, THREADS, DicomIndex, FrameKey
from medclm.data.records import BoxXyxy, Finding, Organ, Record, Source
from medclm.data.rejects import Reject
from medclm.errors import MedclmError, UsageError

DAMAGE = (AttributeError, LookupError, TypeError, ValueError, RuntimeError, EOFError, OSError, struct.error)
"""What pydicom and highdicom raise where a dataset is not as the standard says."""


@dataclass
class Gathered:
    """What the annotation objects say about the pictures of an index.

    Args:
        reader: name that sources carry. covered: pictures on which the objects show every finding there is.
    """

    index: DicomIndex
    reader: str
    covered: set[FrameKey] = field(default_factory=set)
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _findings: dict[FrameKey, list[Finding]] = field(default_factory=dict)
    _organs: dict[FrameKey, dict[str, str]] = field(default_factory=dict)
    _lossy: set[FrameKey] = field(default_factory=set)

    def add(
        self,
        key: FrameKey,
        label_raw: str,
        where: str,
        mask: np.ndarray | None = None,
        box_xyxy: BoxXyxy | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """One finding of a picture; one that cannot be used is set aside.

        Args:
            mask: (H, W) bool; None or empty for a finding known by its box only.
            box_xyxy: the mask's box where it is None.
        """
        found = self._findings.setdefault(key, [])
        finding_id = f"{self.index.image_ids[key]}:{len(found) + 1}"
        has_mask = mask is not None and bool(mask.any())
        try:
            if box_xyxy is None:
                if mask is None or not has_mask:
                    raise Refused("no-geometry", "the mask is empty")
                box_xyxy = boxes.box_from_mask(mask)
            rle = boxes.encode_rle(mask) if mask is not None and has_mask else None
            size_hw = self.index.images[key[0]].size_hw
            found.append(
                make_finding(finding_id, label_raw, box_xyxy, self.reader, size_hw, rle, attributes, self.notes)
            )
            self.covered.add(key)
        except Refused as refused:
            self.lose(where, refused, key)

    def add_organ(self, key: FrameKey, organ: str, mask: np.ndarray) -> None:
        """An organ of a picture; several masks of one organ are united. ``mask`` is (H, W) bool."""
        organs = self._organs.setdefault(key, {})
        if organ in organs:
            mask = mask | boxes.decode_rle(organs[organ], (mask.shape[0], mask.shape[1]))
        if mask.any():
            organs[organ] = boxes.encode_rle(mask)

    def organ_rles(self) -> dict[FrameKey, dict[str, str]]:
        """Run-length masks of the organs by picture."""
        return self._organs

    def lose(self, where: str, refused: Refused, key: FrameKey | None = None, image_id: str = "") -> None:
        """Set a finding aside; its picture, where it is known, can no longer say what is absent.

        Args:
            image_id: the SOP Instance UID that was referred to, where the picture itself (``key``) was not found.
        """
        frames = range(self.index.images[image_id].frames) if image_id in self.index.images else ()
        keys = [key] if key is not None else [(image_id, frame) for frame in frames]
        self._lossy.update(keys)
        image_id = self.index.image_ids[keys[0]] if len(keys) == 1 else image_id
        finding_id = f"{image_id}:{where}" if keys else None
        self.rejects.append(
            Reject(
                image_id=image_id or where, where=where, reason=refused.reason, detail=refused.detail,
                finding_id=finding_id,
            )
        )  # fmt: skip

    @contextmanager
    def guarded(self, where: str, key: FrameKey | None = None, image_id: str = "") -> Iterator[None]:
        """Set aside what cannot be used inside, with its reason; a damaged dataset is one of those.

        pydicom reads nested elements when they are asked for, so damage shows here. Files are read before that.
        """
        from pydicom.errors import BytesLengthException

        try:
            yield
        except Refused as refused:
            self.lose(where, refused, key, image_id)
        except (*DAMAGE, BytesLengthException) as error:
            fault = f"the object is not as the standard says ({type(error).__name__})"
            self.lose(where, Refused("bad-annotation", fault), key, image_id)

    def result(self, dataset: str, only_annotated: bool, complete: bool) -> ReadResult:
        """One record a picture, in the order of the index.

        Args:
            only_annotated: leave out pictures without a finding (of which none was lost either).
            complete: every image of the folder is annotated, so one without a finding has none.
        """
        ids = self.index.image_ids
        named = {key for key in ids if self._findings.get(key) or key in self._lossy}
        kept = [key for key in ids if key in named or not only_annotated]
        incomplete = {ids[key] for key in kept if key in self._lossy or not (complete or key in self.covered)}
        return ReadResult(
            records=[self._record(key, dataset) for key in kept],
            rejects=self.index.rejects + self.rejects,
            incomplete=frozenset(incomplete),
            notes=(*self.index.notes, *self.notes),
        )

    def _record(self, key: FrameKey, dataset: str) -> Record:
        image = self.index.images[key[0]]
        image_id = self.index.image_ids[key]
        return Record(
            image_id=image_id,
            patient_id=image.patient_id or image.study_uid or image_id,
            study_id=image.study_uid,
            dataset=dataset,
            modality=image.modality,
            spacing_mm=image.spacing_mm,
            source=Source(
                uri=storage.join(self.index.folder, image.path),
                reader=self.reader,
                frame=key[1] if image.frames > 1 else None,
                volume=self.index.volume_folders.get(image.series_uid, ""),
            ),
            organs=tuple(self._organ(key, *entry) for entry in sorted(self._organs.get(key, {}).items())),
            findings=tuple(self._findings.get(key, ())),
        )

    def _organ(self, key: FrameKey, name: str, rle: str) -> Organ:
        mask = boxes.decode_rle(rle, self.index.images[key[0]].size_hw)
        return Organ(
            name=name, side=anatomy.organs()[name].side, box_xyxy=boxes.box_from_mask(mask), area_px=int(mask.sum()),
            rle=rle, source=self.reader,
        )  # type: ignore[arg-type]  # fmt: skip


def annotation_objects(annotations: str, modality: str, gathered: Gathered) -> Iterator[tuple[str, Any]]:
    """The annotation objects of one modality, one at a time.

    Args:
        annotations: a DICOM file or a folder of them, any fsspec address. Other DICOM objects of a folder are passed
            over; a broken file of it is set aside.
        modality: SEG, SR, RTSTRUCT or PR.

    Yields:
        (name, dataset): the name for messages is the path in the folder.

    Raises:
        UsageError: there is no such file or folder, or it holds no such object. MedclmError: the one file that was
            named cannot be read.
    """
    fs, root = storage.open_fs(annotations)
    if not fs.exists(root):
        raise UsageError("there is no such annotation file or folder", where=annotations)
    single = not fs.isdir(root)
    paths = [root] if single else sorted(fs.find(root))
    found = 0
    for path in paths:
        name = posixpath.basename(path) if single else path[len(root.rstrip("/")) + 1 :]
        data = storage.read_bytes(annotations if single else storage.join(annotations, name))
        dataset = parsed(data)
        if dataset is None and single:
            raise MedclmError("the annotation file is not DICOM, or is cut off", where=annotations)
        if dataset is None and (is_dicom(data) or posixpath.splitext(name)[1].lower() in (".dcm", ".dicom")):
            gathered.lose(name, Refused("bad-annotation", "the file is not DICOM, or is cut off"))
        if dataset is not None and dataset.get("Modality") == modality:
            found += 1
            yield name, dataset
    if not found:
        raise UsageError(
            f"there is no DICOM object of modality {modality}", where=annotations, got=f"{len(paths)} files"
        )


def parsed(data: bytes) -> Any:
    """A whole dataset, or None for what is none."""
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data))
            list(dataset)  # reads every element, so that a damaged one fails here
            return dataset
    except Exception:  # pydicom raises whatever its parser meets in broken bytes; the callers say so
        return None


def code_text(items: Any) -> str:
    """Code Meaning of the first item of a code sequence; "" for none."""
    for item in (items or [])[:1]:
        return str(item.get("CodeMeaning") or item.get("CodeValue") or "").strip()
    return ""


def first_item(holder: Any, sequence: str) -> Any:
    """The first item of a sequence of ``holder``; an empty mapping where there is none."""
    return (holder.get(sequence) or [{}])[0]


def attribute_name(meaning: str) -> str:
    """A code meaning as the name of an attribute: "Long Axis" is ``long_axis``."""
    return "_".join("".join(c if c.isalnum() else " " for c in meaning.lower()).split())


def patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    """Shell patterns from an option: a list, or a text with commas."""
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(part.strip().lower() for part in parts if part.strip())


ORGANS_AS = ("organs", "findings", "skip")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raises UsageError when an option is none of its choices."""
    if value not in choices:
        raise UsageError(f"the option {name} has no such value", got=value, expected=", ".join(choices))


def segmentation_addresses(folder: str) -> dict[str, str]:
    """SOP Instance UID to address of the SEG objects of a folder, from their headers; broken files are none.

    Raises:
        MedclmError: a file cannot be read.
    """
    import pydicom

    fs, root = storage.open_fs(folder)
    tags = ["SOPInstanceUID", "Modality"]

    def header(path: str) -> Any:
        try:
            return storage.retried(lambda: read(path))
        except OSError as error:
            raise MedclmError("a file cannot be read", where=path, got=error) from error
        except Exception:  # pydicom raises whatever its parser meets; whoever refers to the object is told
            return None

    def read(path: str) -> Any:
        with fs.open(path, "rb", block_size=BLOCK_BYTES) as file:
            if not is_dicom(file.read(132)):
                return None
            file.seek(0)
            return pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=tags)

    found: dict[str, str] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        paths = sorted(fs.find(root))
        for path, dataset in zip(paths, pool.map(header, paths), strict=True):
            if dataset is not None and dataset.get("Modality") == "SEG":
                found[str(dataset.get("SOPInstanceUID"))] = fs.unstrip_protocol(path)
    return found
