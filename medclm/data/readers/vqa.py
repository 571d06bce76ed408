"""Plain VQA datasets: one record an image with the questions that the source asks about it, in the source's words."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from medclm import storage
from medclm.data import anatomy, boxes, harmonise
from medclm.data.readers.base import Listing, ReadResult, Refused, make_finding, name_stem, number
from medclm.data.readers.collect import Collector
from medclm.data.readers.vqa_layouts import LAYOUTS, Asked, Layout, in_vqa_rad_held_out, read_questions, split_of_file
from medclm.data.records import Question, Split
from medclm.errors import UsageError

HELD_OUT: tuple[Split | None, ...] = ("test", "validate", "train", None)
"""An image of several splits goes to the first of these."""
DETECTIONS = "detection.json"
"""SLAKE's boxes, beside each image: a list of ``{label: [x, y, width, height]}`` in pixels."""


def read_vqa(
    images: str,
    annotations: str,
    dataset: str,
    source: str = "vqa-rad",
    files: str = "",
    languages: Sequence[str] = ("en",),
    official: bool = False,
) -> ReadResult:
    """Read a VQA dataset in one of :data:`medclm.data.readers.vqa_layouts.LAYOUTS`.

    Args:
        images: folder of the images, any fsspec address.
        annotations: one question file, or the folder of all of them. Only with all files can an image that the source
            has in two splits be told: it goes whole to the held-out one (test, then validate), so that splits share no
            image, and all images of one article of PMC-VQA likewise. SLAKE's two languages split their images
            differently; only kept languages count.
        dataset: name that the records carry.
        source: whose layout it is; also the reader's name in the records.
        files: pattern of the question files' names in the folder, in place of the layout's own (``*_2.csv`` for the
            second version of PMC-VQA).
        languages: those kept, where the source has several (SLAKE: en, zh).
        official: keep VQA-RAD's own split, whose test shares its images with training. Otherwise its images are split
            as the benchmark ``vqa-rad`` does, so that what it asks was not learned: test where
            :func:`medclm.data.readers.vqa_layouts.in_vqa_rad_held_out` says so, else train.

    Questions and answers stay as published but for blanks at either end; the options of a multiple-choice question
    follow its text. A question that is asked of an image twice is kept once, with its first answer. No image is known
    to be free of anything: all are ``incomplete``. SLAKE's boxes of lesions become findings. Images without a kept
    question are left out.

    Raises:
        UsageError: the source is unknown, or the folder has none of its files. MedclmError: a file cannot be read.
    """
    layout = LAYOUTS.get(source)
    if layout is None:
        raise UsageError("there is no such VQA source", got=source, expected=", ".join(LAYOUTS))
    if isinstance(languages, str) or not languages:
        raise UsageError("languages must be a list of codes", got=languages, expected='["en"]')
    reading = _Reading(Collector(images, dataset, source), tuple(languages), source == "vqa-rad" and not official)
    for address in _question_files(annotations, layout, files):
        for where, row in read_questions(address, layout.keys):
            reading.take(layout, row, where, split_of_file(address))
    return reading.finish()


def _question_files(annotations: str, layout: Layout, files: str) -> list[str]:
    fs, path = storage.open_fs(annotations)
    if not fs.isdir(path):
        return [annotations]
    patterns = (files,) if files else layout.files
    listing = Listing(annotations)
    found = [file for file in listing.files if any(fnmatchcase(posixpath.basename(file), p) for p in patterns)]
    if not found:
        raise UsageError("the folder has no question file", where=annotations, expected=" or ".join(patterns))
    return [listing.uri(file) for file in found]


class _Reading:
    """Questions as they come, by image."""

    def __init__(self, collector: Collector, languages: tuple[str, ...], by_image_name: bool) -> None:
        self.collector, self.languages, self.by_image_name = collector, languages, by_image_name
        self.asked: dict[str, dict[str, Asked]] = {}  # by image and by the question's folded text
        self.patients: dict[str, str] = {}
        self.splits: dict[str, set[Split | None]] = {}  # by patient
        self.counts: Counter[str] = Counter()

    def take(self, layout: Layout, row: dict[str, Any], where: str, split: Split | None) -> None:
        """Takes one row in, or sets it aside."""
        try:
            asked = layout.parse(row)
        except Refused as error:
            return self.collector.refuse(error, _image_of(row), where)
        image_id = self.collector.image(asked.image, where, asked.image_id)
        if image_id is None:
            self.counts["missing"] += 1
            return None
        if asked.language and asked.language not in self.languages:
            self.counts["language"] += 1
            return None
        split = split or asked.split
        if self.by_image_name:
            split = "test" if in_vqa_rad_held_out(asked.image) else "train"
        patient = self.patients.setdefault(image_id, asked.patient or image_id)
        self.splits.setdefault(patient, set()).add(split)
        questions = self.asked.setdefault(image_id, {})
        first = questions.setdefault(_folded(asked.question), asked)
        if first is not asked:
            self.counts["twice"] += 1
            self.counts["otherwise"] += _folded(first.answer) != _folded(asked.answer)
        return None

    def finish(self) -> ReadResult:
        """The result, with every image in one split."""
        collector, moved = self.collector, 0
        for image_id in collector:
            asked, patient = tuple(self.asked.get(image_id, {}).values()), self.patients.get(image_id, image_id)
            splits = self.splits.get(patient, {None})
            moved += len(splits) > 1
            collector.describe(
                image_id,
                patient_id=patient,
                split=next(split for split in HELD_OUT if split in splits),
                modality=_agreed(one.modality for one in asked),
                plane=_agreed(one.plane for one in asked),
                body_part=_agreed(one.body_part for one in asked),
                questions=tuple(_question(image_id, n, one) for n, one in enumerate(asked)),
            )
        if collector.reader == "slake":
            _add_lesions(collector)
        self._note(moved)
        result = collector.result()
        kept = [record for record in result.records if record.questions]
        return replace(result, records=kept, incomplete=frozenset(record.image_id for record in kept))

    def _note(self, moved: int) -> None:
        counts, told = self.counts, self.collector.notes
        kept = sum(map(len, self.asked.values()))
        told.append(f"{kept} questions of {len(self.asked)} images were kept")
        if counts["twice"]:
            again = f"{counts['twice']} questions repeat one of the same image and were left out"
            told.append(f"{again}; {counts['otherwise']} of them have another answer there")
        if counts["language"]:
            told.append(
                f"{counts['language']} questions in another language than {', '.join(self.languages)} were left out"
            )
        if counts["missing"]:
            told.append(f"{counts['missing']} questions were lost with their image")
        if moved:
            told.append(f"{moved} images are in several splits of the source; each went to the held-out one")


def _question(image_id: str, n: int, asked: Asked) -> Question:
    return Question(
        id=f"{image_id}:q{n}",
        type="vqa",
        question=asked.question,
        answer=asked.answer,
        closed=asked.closed,
        choices=asked.choices,
        generator="source",
    )


def _image_of(row: dict[str, Any]) -> str:
    """What a wrong row calls its image, for the reject."""
    names = (row.get(key) for key in ("image_name", "img_name", "image", "Figure_path"))
    return next((name_stem(name) for name in names if isinstance(name, str)), "")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _agreed(words: Iterator[str]) -> str:
    """The one word that is said, or "" where none or several are."""
    said = set(words) - {""}
    return said.pop() if len(said) == 1 else ""


def _add_lesions(collector: Collector) -> None:
    """SLAKE's boxes: lesions become findings, organs are passed over, other labels are noted."""
    listing, other = collector.listing, set[str]()
    paths = {listing.uri(path): path for path in listing.files if posixpath.basename(path) == DETECTIONS}
    for image_id in list(collector):
        path = paths.get(f"{posixpath.dirname(collector.uri(image_id))}/{DETECTIONS}")
        for n, (label, box) in enumerate(_detections(collector, image_id, path) if path else ()):
            kind = harmonise.meaning(label, "slake").kind
            if kind != "finding":
                if kind == "unknown" and anatomy.organ_name(label) is None:
                    other.add(label)
                continue
            finding_id = f"{image_id}:{n}"
            with collector.entry(image_id, f"{path}: [{n}]", finding_id):
                if not isinstance(box, list) or len(box) != 4:
                    raise Refused("bad-box", f"a box must be four numbers, got {box!r}")
                x, y, width, height = (number(value, "box") for value in box)
                box_xyxy = boxes.box_from_xywh((x, y, width, height))
                collector.add(image_id, make_finding(finding_id, label, box_xyxy, "slake"))
    if other:
        collector.notes.append(f"boxes of neither an organ nor a finding that is known: {', '.join(sorted(other))}")


def _detections(collector: Collector, image_id: str, path: str) -> list[tuple[str, Any]]:
    """(label, box) pairs of one image; a file that is no list of objects is set aside."""
    try:
        entries = json.loads(storage.read_bytes(collector.listing.uri(path)))
    except ValueError:
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        error = Refused("bad-annotation", "the file must be a JSON list of {label: [x, y, width, height]}")
        collector.refuse(error, image_id, path, f"{image_id}:detections")
        return []
    return [(label, box) for entry in entries for label, box in entry.items()]
