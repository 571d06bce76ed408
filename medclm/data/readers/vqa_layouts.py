"""How four public VQA datasets lay their questions out, as they are downloaded.

* VQA-RAD (OSF 89kps): JSON lists ``trainset.json`` and ``testset.json``, or one ``VQA_RAD Dataset Public.json`` whose
  ``phrase_type`` says which rows are the test.
* SLAKE: JSON lists ``train.json``, ``validate.json``, ``test.json`` in English and Chinese; images are
  ``xmlabN/source.jpg``.
* PathVQA: ``qas/SPLIT/SPLIT_qa.pkl``, pickled lists of dicts; JSON of the same name is read as well.
* PMC-VQA: CSV, version 1 ``train.csv`` and ``test.csv`` (answer as text and letter), version 2 ``train_2.csv`` and
  ``test_2.csv`` (answer as letter, a ``split`` column).
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from medclm import storage
from medclm.data.readers.base import SPLITS, Refused
from medclm.data.readers.rows import read_rows
from medclm.data.records import Split
from medclm.errors import MedclmError

LETTERS = "ABCD"
VQA_RAD_HELD_OUT = 0.2
"""Share of VQA-RAD's images whose questions are held out."""


def in_vqa_rad_held_out(image_name: str) -> bool:
    """Whether an image of VQA-RAD is held out: by the hash of its name, so that the split never moves."""
    return int(hashlib.sha256(image_name.encode()).hexdigest()[:8], 16) / 2**32 < VQA_RAD_HELD_OUT


@dataclass(frozen=True)
class Asked:
    """One published question.

    Attributes:
        image: name of its image as published.
        image_id: of the record; "" for the stem of the file.
        split: by the row; the name of the file says more.
        modality, plane, body_part: what the row says of its image, in this package's words; "" where it says nothing.
        language: as the source names it; "" for a source in one language.
        patient: what images belong together by, the article of PMC-VQA; "" for each image by itself.
        id, topic: of the question, as the source has them ("pres"); "" where it has none.
    """

    image: str
    question: str
    answer: str
    closed: bool
    choices: tuple[str, ...] | None = None
    image_id: str = ""
    split: Split | None = None
    modality: str = ""
    plane: str = ""
    body_part: str = ""
    language: str = ""
    patient: str = ""
    id: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Layout:
    """A source's layout.

    Attributes:
        files: patterns of its question files' names.
        keys: what every row must have.
        parse: one row; Refused (bad-row) where it is wrong.
    """

    files: tuple[str, ...]
    keys: tuple[str, ...]
    parse: Callable[[dict[str, Any]], Asked]


def read_questions(address: str, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of one question file, JSON, pickle or CSV by its ending, each with its place for messages.

    Raises:
        MedclmError: the file cannot be read, is no list of rows, or its header or first row lacks one of ``keys``.
    """
    name = posixpath.basename(address)
    if name.lower().endswith((".csv", ".csv.gz")):
        yield from ((row.where, row.cells) for row in read_rows(address, keys))
        return
    rows = _unpickled(address) if name.lower().endswith(".pkl") else _json(address)
    if not isinstance(rows, list):
        raise MedclmError("the question file is no list of rows", where=address, got=type(rows).__name__)
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    if rows and (missing := [key for key in keys if key not in first]):
        raise MedclmError(
            "the question file is of another layout",
            where=address,
            expected=", ".join(keys),
            got=f"no {', '.join(missing)} in the first row",
            remedy="choose the format of the source",
        )
    for index, row in enumerate(rows):
        yield f"{name}: [{index}]", row if isinstance(row, dict) else {}


def split_of_file(address: str) -> Split | None:
    """The split that a file's name begins with, or None."""
    word = re.match(
        r"[a-z]*", posixpath.basename(address).lower().replace("trainset", "train").replace("testset", "test")
    )
    return SPLITS.get(word[0]) if word else None


def _json(address: str) -> Any:
    try:
        return json.loads(storage.read_bytes(address).decode("utf-8-sig"))
    except ValueError as error:
        raise MedclmError(
            "the question file is not JSON", where=address, got=error, remedy="download it again"
        ) from error


class _Plain(pickle.Unpickler):
    """Reads lists, dicts, texts and numbers; a pickle that wants anything else could run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants {module_name}.{global_name}")


def _unpickled(address: str) -> Any:
    try:
        return _Plain(io.BytesIO(storage.read_bytes(address))).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise MedclmError(
            "the question file is no plain pickle", where=address, expected="a list of dicts of text", got=error
        ) from error


def _text(row: dict[str, Any], key: str) -> str:
    """A value as text, without blanks at either end. Refused (bad-row) where it is missing, blank or no text."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
        raise Refused("bad-row", f"{key} must be text, got {value!r}")
    return str(value).strip()


def _closed(row: dict[str, Any]) -> bool:
    word = _text(row, "answer_type").upper()
    if word not in ("OPEN", "CLOSED"):
        raise Refused("bad-row", f"answer_type must be OPEN or CLOSED, got {word!r}")
    return word == "CLOSED"


MODALITIES = {"ct": "CT", "mri": "MR", "mr": "MR", "x-ray": "DX", "xray": "DX", "chest x-ray": "DX", "ultrasound": "US"}
PLANES = {
    **dict.fromkeys(("axial", "transverse", "axial plane", "transverse plane"), "axial"),
    **dict.fromkeys(("coronal", "coronal plane"), "coronal"),
    **dict.fromkeys(("sagittal", "sagittal plane"), "sagittal"),
    **dict.fromkeys(("pa", "ap", "posteroanterior"), "frontal"),
}
"""What the answer to a question about modality or plane says of the image; other answers say nothing."""


BODY_PARTS = {
    "chest": "chest", "lung": "chest", "abd": "abdomen", "abdomen": "abdomen", "head": "head", "brain": "head",
    "neck": "neck", "pelvic cavity": "pelvis",
}  # fmt: skip
"""VQA-RAD's ``image_organ`` and SLAKE's ``location``, the part before "_", in the words of the vocabulary."""


def _word(answer: str, kind: str, wanted: str, words: dict[str, str]) -> str:
    return words.get(" ".join(answer.lower().split()), "") if kind.strip().lower() == wanted else ""


def _body_part(row: dict[str, Any], key: str) -> str:
    return BODY_PARTS.get(str(row.get(key) or "").strip().lower().partition("_")[0], "")


_TOPICS = {"prse": "pres", "atrib": "attrib"}
"""Misspellings in the public file of VQA-RAD."""
_NEGATED = re.compile(r"\bnot\b", re.IGNORECASE)


def _vqa_rad(row: dict[str, Any]) -> Asked:
    answer, kind = _text(row, "answer"), str(row.get("question_type") or "")
    first = kind.split(",")[0].strip().lower()
    told = "" if _NEGATED.search(_text(row, "question")) else kind  # "What type of imaging does this not represent?"
    return Asked(
        image=_text(row, "image_name"),
        question=_text(row, "question"),
        answer=answer,
        closed=_closed(row),
        split="test" if str(row.get("phrase_type", "")).startswith("test") else "train",
        modality=_word(answer, told, "modality", MODALITIES),
        plane=_word(answer, told, "plane", PLANES),
        body_part=_body_part(row, "image_organ"),
        id=str(row.get("qid", "")),
        topic=_TOPICS.get(first, first),
    )


def _slake(row: dict[str, Any]) -> Asked:
    answer, image = _text(row, "answer"), _text(row, "img_name")
    modality = MODALITIES.get(str(row.get("modality", "")).strip().lower(), "")
    plane = _word(answer, str(row.get("content_type", "")), "plane", PLANES)
    return Asked(
        image=image,
        image_id=posixpath.dirname(image).replace("/", "_"),
        question=_text(row, "question"),
        answer=answer,
        closed=_closed(row),
        modality=modality,
        plane="frontal" if (modality, plane) == ("DX", "coronal") else plane,
        body_part=_body_part(row, "location"),
        language=_text(row, "q_lang"),
    )


def _pathvqa(row: dict[str, Any]) -> Asked:
    answer = _text(row, "answer")
    return Asked(_text(row, "image"), _text(row, "question"), answer, closed=answer.lower() in ("yes", "no"))


def _pmc_vqa(row: dict[str, Any]) -> Asked:
    texts = {letter: _choice(str(row.get(f"Choice {letter}") or ""), letter) for letter in LETTERS}
    letter = _text(row, "Answer_label" if "Answer_label" in row else "Answer").upper()
    if not texts.get(letter):
        raise Refused("bad-row", f"the answer must be a letter of a choice that is not blank, got {letter!r}")
    options = "; ".join(f"{letter}. {text}" for letter, text in texts.items() if text)
    article = re.match(r"PMC\d+", posixpath.basename(_text(row, "Figure_path")))
    return Asked(
        image=_text(row, "Figure_path"),
        question=f"{_text(row, 'Question')} Options: {options}",
        answer=texts[letter],
        closed=True,
        choices=tuple(text for text in texts.values() if text),
        patient=article[0] if article else "",
        split=SPLITS.get(str(row.get("split") or "").strip().lower()),
    )


def _choice(cell: str, letter: str) -> str:
    """The text of a choice: the cell repeats its own letter ("A: liver") in version 1."""
    return re.sub(rf"^\s*{letter}\s*[:.)]", "", cell).strip()


_JSON_KEYS = ("question", "answer", "answer_type")

LAYOUTS: dict[str, Layout] = {
    "pathvqa": Layout(("train_qa.*", "val_qa.*", "test_qa.*"), ("image", "question", "answer"), _pathvqa),
    "pmc-vqa": Layout(
        ("train.csv", "test.csv"),
        ("Figure_path", "Question", "Answer", *(f"Choice {letter}" for letter in LETTERS)),
        _pmc_vqa,
    ),
    "slake": Layout(
        ("train.json", "validate.json", "test.json"), ("img_name", "q_lang", "modality", *_JSON_KEYS), _slake
    ),
    "vqa-rad": Layout(
        ("trainset.json", "testset.json", "VQA_RAD Dataset Public.json"), ("image_name", *_JSON_KEYS), _vqa_rad
    ),
}
"""Known sources by name."""
