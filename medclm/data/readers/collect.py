"""What a reader gathers while it goes through annotations entry by entry, whatever their format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medclm.data.readers.base import Listing, ReadResult, Refused, name_stem, stem
from medclm.data.records import Finding, Record, Source
from medclm.data.rejects import Reject


class Collector:
    """Images in the order in which they are first named, their findings, and what is set aside.

    An image that cannot be found is set aside once, and what is said of it goes with it. An image that lost a finding
    is incomplete; one that lost only a repetition of a finding is not.

    Args:
        images: folder of the images, any fsspec address.
        dataset, reader: names that the records and their findings carry.
        skip: endings of files in the folder that are no images.

    Attributes:
        listing: the folder.
        incomplete, notes: as in :class:`medclm.data.readers.base.ReadResult`; readers add to them.
    """

    def __init__(self, images: str, dataset: str, reader: str, skip: tuple[str, ...] = ()) -> None:
        self.dataset, self.reader = dataset, reader
        self.listing = Listing(images, skip)
        self.incomplete: set[str] = set()
        self.notes: list[str] = []
        self._rejects: list[Reject] = []
        self._ids: dict[str, str | None] = {}  # by the name that entries use; None for an image that is set aside
        self._paths: dict[str, str] = {}
        self._fields: dict[str, dict[str, Any]] = defaultdict(dict)
        self._findings: dict[str, list[Finding]] = defaultdict(list)
        self._said: dict[str, set[tuple]] = defaultdict(set)  # findings but for their ids

    def image(self, name: str, where: str, image_id: str = "", path: str = "") -> str | None:
        """The id of the image that an entry names, or None when it is set aside.

        Args:
            name: as the entry writes it: a path, a file name, or one without its extension.
            where: of the entry, for the reject.
            image_id: the stem of the file when empty.
            path: of the file in the listing, where the name alone does not tell it.
        """
        if name not in self._ids:
            try:
                found = path or self.listing.find(name)
                self._ids[name] = self._open(image_id or stem(found), found)
            except Refused as error:
                self._ids[name] = None
                self.refuse(error, image_id or name_stem(name), where)
        found_id = self._ids[name]
        return found_id if found_id in self else None

    def _open(self, image_id: str, path: str) -> str:
        if self._paths.setdefault(image_id, path) != path:
            raise Refused("duplicate-image", f"{self._paths[image_id]!r} and {path!r} would have the same image id")
        return image_id

    def describe(self, image_id: str, **fields: Any) -> None:
        """Adds fields of the record; None, "" and () say nothing.

        Raises:
            Refused: (bad-row) another entry said otherwise; what came first stays.
        """
        known = self._fields[image_id]
        for name, value in fields.items():
            if value not in (None, "", ()) and known.setdefault(name, value) != value:
                raise Refused("bad-row", f"{name} of the image is {known[name]!r} elsewhere and {value!r} here")

    def add(self, image_id: str, finding: Finding) -> None:
        """Adds a finding of an image.

        Raises:
            Refused: (duplicate-annotation) another finding of the image is its equal but for the id.
        """
        said = (finding.label_raw, finding.box_xyxy, finding.mask_rle, tuple(sorted(finding.attributes.items())))
        if said in self._said[image_id]:
            raise Refused("duplicate-annotation", "the same finding twice; the first one is used")
        self._said[image_id].add(said)
        self._findings[image_id].append(finding)

    def refuse(self, error: Refused, image_id: str, where: str, finding_id: str | None = None) -> None:
        """Sets an image aside, or one finding of it."""
        reject = Reject(image_id=image_id, where=where, reason=error.reason, detail=error.detail, finding_id=finding_id)
        self._rejects.append(reject)
        if finding_id is not None and error.reason != "duplicate-annotation":
            self.incomplete.add(image_id)

    @contextmanager
    def entry(self, image_id: str, where: str, finding_id: str | None = None) -> Iterator[None]:
        """What is refused inside is set aside, and the reader goes on."""
        try:
            yield
        except Refused as error:
            self.refuse(error, image_id, where, finding_id)

    def drop(self, error: Refused, image_id: str, where: str) -> None:
        """Sets an image aside that was opened before; its findings go with it."""
        del self._paths[image_id]
        self._findings.pop(image_id, None)
        self.refuse(error, image_id, where)

    def uri(self, image_id: str) -> str:
        """The address of an image's file."""
        return self.listing.uri(self._paths[image_id])

    def findings(self, image_id: str) -> list[Finding]:
        """The image's findings so far."""
        return list(self._findings[image_id])

    def replace(self, image_id: str, findings: list[Finding]) -> None:
        """Puts others in the place of an image's findings."""
        self._findings[image_id] = findings

    def __contains__(self, image_id: str | None) -> bool:
        return image_id in self._paths

    def __iter__(self) -> Iterator[str]:
        """Ids of the usable images, in order."""
        return iter(self._paths)

    def result(self, **fields: Any) -> ReadResult:
        """What was read. ``fields`` are those that all records share and none says otherwise."""
        return ReadResult(
            records=[self._record(image_id, fields) for image_id in self._paths],
            rejects=self._rejects,
            incomplete=frozenset(self.incomplete & self._paths.keys()),
            notes=tuple(self.notes),
        )

    def _record(self, image_id: str, shared: dict[str, Any]) -> Record:
        source = Source(uri=self.uri(image_id), reader=self.reader)
        own = {"patient_id": image_id, **shared, **self._fields[image_id]}
        findings = tuple(self._findings[image_id])
        return Record(image_id=image_id, dataset=self.dataset, source=source, findings=findings, **own)
