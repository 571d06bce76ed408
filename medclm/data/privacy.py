"""Privacy: identifiers replaced by keyed hashes, and a scan that shows whether any came through.

Threat model. The reader of a dataset holds the dataset, knows how medclm works, and may know or guess identifiers
(names, hospital numbers, DICOM UIDs, which are short enough to try them all). A plain hash would let them look up every
guess; HMAC-SHA256 with a secret key does not, while the same key gives the same person the same id in every dataset.
So the key is as confidential as the list of patients, and lies outside the dataset: whoever holds it can test guesses.

Out of scope: who the picture itself shows (a face in a CT, text burned into the pixels, which decoding sets aside),
and someone who holds the original files, who can find them again by their pixels or by ``source.sha256``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from medclm import storage
from medclm.data import anatomy
from medclm.data.records import Finding, Prior, Question, Record
from medclm.data.rejects import Reject
from medclm.errors import UsageError

KEY_VARIABLE = "MEDCLM_ID_KEY"
MIN_KEY_BYTES = 16
HASH_DIGITS = 20
"""Hexadecimal digits of a hashed id: 80 bits, so among a million ids two are equal with probability 4e-13."""
SHORT = 4
"""An id of fewer characters is replaced in other ids only, and where it stands alone: "7" in ``scan_7_of_17``, once."""


def keyed_hash(value: str, key: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) of the text, the first :data:`HASH_DIGITS` hexadecimal digits."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]


def load_key(key_file: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> bytes:
    """The key of a build: ``$MEDCLM_ID_KEY``, else ``key_file``, else this user's own.

    A user's own key is drawn at random when it is first asked for, and kept in ``id.key`` of medclm's cache, readable
    by its owner only. It never lies in a dataset. All builds of one user on one machine share it, so that a build that
    is resumed, or made again elsewhere, has the same ids; two users' datasets have none in common.

    Args:
        key_file: a file with a key of at least 16 bytes; white space at its ends is ignored.
        environ: where the variable is looked up.

    Raises:
        UsageError: a key that is too short; MedclmError: the key file does not exist.
    """
    if given := environ.get(KEY_VARIABLE, "").strip():
        return _long_enough(given.encode(), f"${KEY_VARIABLE}")
    if key_file is not None:
        return _long_enough(storage.read_bytes(key_file).strip(), str(key_file))
    return _own_key(own_key_path())


def own_key_path() -> Path:
    """Where the key of a user who has given none is kept."""
    from medclm.samples.wheels import default_cache

    return default_cache() / "id.key"


def key_check(key: bytes) -> str:
    """A value that tells two keys apart and reveals neither; build.json keeps it, so a resumed build can refuse."""
    return keyed_hash("medclm key check", key)


def _own_key(path: Path) -> bytes:
    """The key in ``path``, drawn where there is none; two processes at once both get the one that was first."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent)  # readable by its owner only
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
        with suppress(FileExistsError):
            os.link(draft, path)
        os.unlink(draft)
    return _long_enough(path.read_bytes().strip(), str(path))


def _long_enough(key: bytes, where: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise UsageError(
            "the key for patient ids is too short", where=where, got=f"{len(key)} bytes",
            expected=f"at least {MIN_KEY_BYTES}", remedy='python -c "import secrets; print(secrets.token_hex(32))"',
        )  # fmt: skip
    return key


@dataclass
class Pseudonyms:
    """Replaces the ids of one record, and remembers them, to replace them in its texts as well.

    Args:
        key: see :func:`load_key`.
        hash_image_ids: False keeps image ids, except for the patient and study ids that occur in them. Image ids are
            mostly file names, and those often hold a name or a date that no field of the record repeats.
    """

    key: bytes
    hash_image_ids: bool = True
    _known: dict[str, str] = field(default_factory=dict)
    _finders: dict[bool, tuple[list[str], re.Pattern[str]]] = field(default_factory=dict)

    def patient(self, value: str) -> str:
        return self._learn(value, "p" + keyed_hash(value, self.key))

    def study(self, value: str) -> str:
        return self._learn(value, "s" + keyed_hash(value, self.key)) if value else ""

    def image(self, value: str) -> str:
        """Call it after :meth:`patient` and :meth:`study`."""
        return self._learn(value, "i" + keyed_hash(value, self.key) if self.hash_image_ids else self.id(value))

    def path(self, value: str) -> str:
        """An address, of which only a hash and the file type stay. Equal addresses stay equal."""
        if not value:
            return ""
        name = value.replace("\\", "/").rstrip("/").rpartition("/")[2]
        suffix = re.search(r"(\.nii)?\.[A-Za-z]{1,5}$", name)
        new = f"f{keyed_hash(value, self.key)}{suffix[0].lower() if suffix else ''}"
        self._learn(name, new)
        return self._learn(value, new)

    def id(self, value: str) -> str:
        """An id or address that holds others, such as ``IMAGE:1``: every id that was seen is replaced."""
        return self._replaced(value, in_text=False)

    def text(self, value: str) -> str:
        """A text for people. Not an id in it: a short one (the 1 of "1 nodule"), and words of anatomy ("left lung")."""
        return self._replaced(value, in_text=True)

    def _learn(self, raw: str, new: str) -> str:
        self._known.setdefault(raw.lower(), new)
        self._finders.clear()
        return new

    def _replaced(self, value: str, in_text: bool) -> str:
        """In one pass, the longest ids first, in upper and lower case alike; some only as words of their own."""
        if in_text not in self._finders:
            self._finders[in_text] = self._finder(in_text)
        raws, pattern = self._finders[in_text]
        return pattern.sub(lambda found: self._known[raws[(found.lastindex or 1) - 1]], value) if raws else value

    def _finder(self, in_text: bool) -> tuple[list[str], re.Pattern[str]]:
        """The ids to look for, and what finds each as a group of its own. A record's texts share it."""
        raws = sorted((r for r in self._known if not in_text or _is_telling(r)), key=lambda raw: (-len(raw), raw))
        alone = [raw.isdigit() if in_text else len(raw) < SHORT for raw in raws]
        ids = zip(map(re.escape, raws), alone, strict=True)
        parts = [rf"(?<![^\W_])({one})(?![^\W_])" if as_word else f"({one})" for one, as_word in ids]
        return raws, re.compile("|".join(parts), re.IGNORECASE)


@cache
def _vocabulary() -> frozenset[str]:
    """Words that the vocabulary of organs and findings is made of, and those of positions and pictures."""
    terms = [name for term in anatomy.organs().values() for name in (term.name, *term.synonyms)]
    terms += [name for term in anatomy.findings().values() for name in (term.name, term.plural, *term.synonyms)]
    more = (
        "left right bilateral midline upper middle lower image picture scan chest frontal lateral axial yes no normal"
    )
    return frozenset(re.findall(r"[a-z]+", " ".join([*terms, more]).lower()))


@lru_cache(maxsize=1024)
def _is_telling(raw: str) -> bool:
    """Whether the id would give anything away in a text, where it is one word among others."""
    is_anatomy = raw.replace("_", "").isalpha() and set(raw.lower().split("_")) <= _vocabulary()
    return len(raw) >= SHORT and not is_anatomy


def pseudonymise(record: Record, key: bytes, hash_image_ids: bool = True) -> Record:
    """``record`` without the ids it came with.

    patient_id, study_id and image_id (also of the prior) become keyed hashes; ``source.uri``, ``source.volume`` and
    ``prior.uri`` keep their file type and nothing else; ids of findings and questions, raw labels, attributes and every
    text have the ids replaced where they occur in them. Call it after everything that looks files up by their id.
    """
    names = Pseudonyms(key, hash_image_ids)
    patient_id, study_id = names.patient(record.patient_id), names.study(record.study_id)
    image_id = names.image(record.image_id)
    source = record.source.model_copy(
        update={"uri": names.path(record.source.uri), "volume": names.path(record.source.volume)}
    )
    prior = _prior(record.prior, names) if record.prior else None
    update = {
        "patient_id": patient_id, "study_id": study_id, "image_id": image_id, "source": source, "prior": prior,
        "findings": tuple(_finding(finding, names) for finding in record.findings),
        "labels": tuple(map(names.text, record.labels)),
        "labels_absent": tuple(map(names.text, record.labels_absent)),
        "questions": tuple(_question(question, names) for question in record.questions),
    }  # fmt: skip
    return Record.model_validate({**dict(record), **update})


def pseudonymise_reject(
    reject: Reject, key: bytes, record: Record | None = None, hash_image_ids: bool = True
) -> Reject:
    """``reject`` without ids and addresses. Its reason stays; anything that looks like a path is hashed.

    Args:
        record: the record it belongs to as it was read, where there is one: its ids are then replaced in all texts.
    """
    names = Pseudonyms(key, hash_image_ids)
    if record is not None:
        names.patient(record.patient_id)
        names.study(record.study_id)
    image_id = names.image(reject.image_id)
    if record is not None:
        names.path(record.source.uri)
        names.path(record.source.volume)

    def clean(text: str) -> str:
        return _PATH.sub(lambda found: "f" + keyed_hash(found[0], key), names.id(text))

    return reject.model_copy(
        update={
            "image_id": image_id,
            "where": clean(reject.where),
            "detail": clean(reject.detail),
            "finding_id": names.id(reject.finding_id) if reject.finding_id else reject.finding_id,
            "question": _question(reject.question, names) if reject.question else None,
        }
    )


_PATH = re.compile(r"""[^\s:'",()]*[/\\][^\s'",()]*|[^\s:'",()/]+\.(?:dcm|png|jpe?g|nii(?:\.gz)?|nrrd|tiff?)\b""", re.I)


def _finding(finding: Finding, names: Pseudonyms) -> Finding:
    update = {
        "id": names.id(finding.id),
        "label": names.text(finding.label),
        "label_raw": names.text(finding.label_raw),
        "attributes": {names.text(name): names.text(value) for name, value in finding.attributes.items()},
        "source": names.id(finding.source),
    }
    return finding.model_copy(update=update)


def _question(question: Question, names: Pseudonyms) -> Question:
    steps = tuple(step.model_copy(update={"text": names.text(step.text)}) for step in question.reasoning)
    update = {
        "id": names.id(question.id),
        "question": names.text(question.question),
        "answer": names.text(question.answer),
        "choices": tuple(map(names.text, question.choices)) if question.choices is not None else None,
        "reasoning": steps,
        "finding_ids": tuple(map(names.id, question.finding_ids)),
    }
    return question.model_copy(update=update)


def _prior(prior: Prior, names: Pseudonyms) -> Prior:
    update = {
        "image_id": names.image(prior.image_id),
        "uri": names.path(prior.uri),
        "findings": tuple(_finding(finding, names) for finding in prior.findings),
    }
    return prior.model_copy(update=update)
