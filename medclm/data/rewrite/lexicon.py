"""Words to concepts: the vocabulary of organs and findings and ``lexicon.yaml``, longest match first.

A text becomes a list of tokens. Each is a concept (a side, an organ, a finding, a number ...), a neutral word, a mark
that ends a clause, or a word that nobody has explained, which counts as a fact of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medclm.data import anatomy

_HERE = Path(__file__).parent
_WORD = re.compile(r"[a-z]+\d*|\d+(?:\.\d+)?|%|[.,;:?!()/]")
_SIDES = ("left", "right")
NEUTRAL = "neutral"

Words = tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """One concept of a text.

    Attributes:
        kind: what it is (``finding``, ``organ``, ``side``, ``neutral``, ``mark``, ``unknown`` ...).
        value: its canonical name; for a number, the number as written.
        text: the words it was read from.
        plural: whether a finding was named in the plural.
    """

    kind: str
    value: str
    text: str
    plural: bool = False


def words_of(text: str) -> list[str]:
    """Lower-case words, numbers and marks; hyphens are blanks and contracted negations are written out."""
    text = text.lower().replace("\u2019", "'").replace("\u00a0", " ")
    text = text.replace("cannot", "can not").replace("can't", "can not").replace("won't", "will not")
    text = re.sub(r"n't\b", " not", text)
    text = re.sub(r"(\d),(\d{1,2})\b(?!\d)", r"\1.\2", text)
    text = re.sub(r"(\d)([a-z])", r"\1 \2", re.sub(r"[-\u2010-\u2015_']", " ", text))
    return _WORD.findall(text)


@dataclass
class Lexicon:
    """``phrases``: (words, kind, value, plural) by first word, longest first. ``neutral``: stems of neutral words.

    ``form``: word classes that tell what kind of question a text is (``auxiliary``, ``imperative`` ...).
    """

    phrases: dict[str, list[tuple[Words, str, str, bool]]] = field(default_factory=dict)
    neutral: frozenset[str] = frozenset()
    numbers: dict[str, float] = field(default_factory=dict)
    form: dict[str, frozenset[str]] = field(default_factory=dict)

    def tokens(self, text: str) -> list[Token]:
        """The tokens of a text in its order."""
        return list(self._tokens(words_of(text)))

    def _tokens(self, words: list[str]) -> Iterator[Token]:
        at = 0
        while at < len(words):
            word = words[at]
            for phrase, kind, value, plural in self.phrases.get(word, ()):
                if tuple(words[at : at + len(phrase)]) == phrase:
                    yield Token(kind, value, " ".join(phrase), plural)
                    at += len(phrase)
                    break
            else:
                yield self._single(word)
                at += 1

    def _single(self, word: str) -> Token:
        if word[0].isdigit():
            return Token("number", f"{float(word):g}", word)
        if word in self.numbers:
            return Token("number", f"{self.numbers[word]:g}", word)
        if not word[0].isalpha():
            return Token("mark", word, word)
        if word in self.neutral or stem(word) in self.neutral:
            return Token(NEUTRAL, word, word)
        return Token("unknown", stem(word), word)


def stem(word: str) -> str:
    """The word without the commonest English inflections. It need not be a word: only equality counts."""
    for ending, least in (("ing", 6), ("ied", 5), ("ies", 5), ("ed", 5), ("es", 5), ("ly", 5), ("s", 4), ("e", 4)):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending in ("ied", "ies") else "")
            return stem(word) if ending in ("ly", "s") else word.rstrip("e")
    return word


@cache
def lexicon_document() -> dict[str, Any]:
    """``lexicon.yaml``."""
    return yaml.safe_load((_HERE / "lexicon.yaml").read_text())


@cache
def lexicon() -> Lexicon:
    """The lexicon of this package, made once a process."""
    entries: dict[Words, tuple[str, str, bool]] = {}
    document = lexicon_document()
    values = {words for group in ("values", "degrees", "attributes") for words in _phrases(document[group])}
    entries.update({w: e for w, e in _organs() if w not in values})
    entries.update({w: e for w, e in _findings() if w not in values})
    entries.update(_of_document(document))
    for words, entry in _findings(names_only=True):
        entries.setdefault(words, entry)
    table: dict[str, list[tuple[Words, str, str, bool]]] = {}
    for words, entry in entries.items():
        table.setdefault(words[0], []).append((words, *entry))
    for group in table.values():
        group.sort(key=lambda item: -len(item[0]))
    neutral = yaml.safe_load((_HERE / "neutral.yaml").read_text())
    plain = {word for key, text in neutral.items() if key != "version" for word in words_of(text)}
    form = {name: frozenset(words.split()) for name, words in document["form"].items()}
    return Lexicon(table, frozenset(plain | {stem(word) for word in plain}), document["number_words"], form)


def _organs() -> Iterator[tuple[Words, tuple[str, str, bool]]]:
    """Organs by their names without a side: "left lower lobe" is a side and a ``lower_lobe``."""
    for term in anatomy.organs().values():
        parts = term.name.split("_")
        if "zone" in parts or any(anatomy.finding_name(part) for part in parts):
            continue  # a zone is a fact of its own; "left kidney cyst" is a lesion of the kidney
        base = "_".join(part for part in term.name.split("_") if part not in _SIDES)
        base = {"lungs": "lung", "kidneys": "kidney"}.get(base, base)
        for name in (term.text, *term.synonyms):
            words = tuple(word for word in words_of(name) if word not in _SIDES)
            if words and not set(words) & {"of", "both"}:
                yield words, ("organ", base, False)
                if len(words) < 3 and not words[-1].endswith("s") and not words[-1][-1].isdigit():
                    yield (*words[:-1], f"{words[-1]}s"), ("organ", base, False)


def _findings(names_only: bool = False) -> Iterator[tuple[Words, tuple[str, str, bool]]]:
    """Findings by name, plural and synonym; "pulmonary nodule" is left as an organ and a finding."""
    names = {tuple(words_of(term.name)) for term in anatomy.findings().values()}
    sites = set(lexicon_document()["sites"].split())
    for term in anatomy.findings().values():
        own = tuple(words_of(term.name))
        if own != ("lesion",):
            yield own, ("finding", term.name, False)
            yield tuple(words_of(term.plural)), ("finding", term.name, term.plural != term.name)
        for synonym in () if names_only else term.synonyms:
            words = tuple(words_of(synonym))
            if "/" in words or (set(words) & sites and any(set(n) & set(words) for n in names if len(n) == 1)):
                continue
            yield words, ("finding", term.name, False)


def _of_document(document: dict[str, Any]) -> Iterator[tuple[Words, tuple[str, str, bool]]]:
    """The entries of ``lexicon.yaml``; what comes later wins where two lists hold one phrase."""
    grouped = {
        "topics": "topic", "prior": "prior", "directions": "direction", "zones": "zone", "zone_words": "zone-word",
        "comparisons": "compare", "changes": "change", "same": "same", "attributes": "key", "values": "value",
        "degrees": "degree", "quantities": "quantity", "bounds": "bound", "axes": "axis", "units": "unit",
        "reference": "reference", "modalities": "modality", "planes": "plane", "organs": "organ",
        "findings": "finding", "pronouns": "pronoun", "options_words": "options", "hedges_in_statements": "modal",
        "sides": "side", "asks_side": "asks-side", "asks_zone": "asks-zone", "asks_change": "asks-change",
        "abnormal": "abnormal", "normal": "normal", "nothing": "nothing", "only": "only", "hedges": "hedge",
        "harmless": NEUTRAL, "point_of_view": NEUTRAL,
    }  # fmt: skip
    for group, kind in grouped.items():
        listed = document[group]
        named = listed if isinstance(listed, dict) else {kind: listed}
        for value, phrases in named.items():
            for phrase in phrases:
                yield tuple(words_of(str(phrase))), (kind, str(value), kind == "finding" and _is_plural(phrase))
    for where, phrases in document["negation"].items():
        for phrase in phrases:
            yield tuple(words_of(phrase)), ("negation", where, False)


def _is_plural(phrase: str) -> bool:
    return phrase.endswith("s") and not phrase.endswith(("ss", "us", "is"))


def _phrases(listed: dict[str, list[str]]) -> set[Words]:
    return {tuple(words_of(str(phrase))) for phrases in listed.values() for phrase in phrases}
