"""The closed vocabulary of organs and findings: parents, sides, synonyms, and which organ can hold which finding.

Organs live in ``organs.yaml`` beside this file, findings in ``knowledge/findings``; this module only looks them up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent
SIDES = ("left", "right")


@dataclass(frozen=True)
class OrganTerm:
    """One organ of the vocabulary.

    Attributes:
        side: the patient's; "bilateral" for both of a pair, None for an organ that no side describes.
        radlex, snomed: RadLex and SNOMED CT ids, or None.
        synonyms: names that other tools and datasets write.
        is_region: a part of the body that groups organs (thorax, abdomen, …); a mask of it may exist, but it is never
            made from its parts' masks.
        is_host: whether a finding can be placed in it. Regions are no hosts, nor are masks that cut an organ up in
            another way than its parts do (zones of a lung, both ribs of a number).
    """

    name: str
    parent: str | None
    side: str | None
    radlex: str | None
    synonyms: tuple[str, ...]
    is_region: bool = False
    is_host: bool = True
    snomed: str | None = None

    @property
    def text(self) -> str:
        """The organ in words: ``left_lower_lobe`` is "left lower lobe", ``vertebra_t12`` is "vertebra T12"."""
        words = self.name.split("_")
        return " ".join(w.upper() if w[0] in "ctls" and w[1:].isdigit() else w for w in words)


@dataclass(frozen=True)
class FindingTerm:
    """One finding of the vocabulary and the organs that can hold it, descendants included."""

    name: str
    plural: str
    organs: tuple[str, ...]
    synonyms: tuple[str, ...]


def normal_name(name: str) -> str:
    """A name as the look-ups compare it: lower case, underscores as blanks, single blanks."""
    return " ".join(name.lower().replace("_", " ").split())


def _entries(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, object]]]:
    """(name, entry, what its braces stand for) of every organ; names still have their braces."""
    for name, entry in document["single"].items():
        yield name, entry, {}
    for side in SIDES:
        for name, entry in document["paired"].items():
            yield f"{{side}}_{name}", {**entry, "side": side}, {"side": side}
    for name, entry in document["numbered"].items():
        for side in SIDES if "{side}" in name else ("",):
            for n in range(1, entry["to"] + 1):
                own = {**entry, "side": side} if side else entry
                yield name, own, {"side": side, "n": n, "th": ordinal(n)}


def ordinal(n: int) -> str:
    """1 to 20 as "1st", "2nd", "3rd", "4th" …"""
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n, 'th') }"


def _term(name: str, entry: dict[str, Any], blanks: dict[str, object], codes: dict[str, dict[str, str]]) -> OrganTerm:
    name = name.format(**blanks)
    is_region = entry.get("region", False)
    return OrganTerm(
        name=name,
        parent=entry["parent"].format(**blanks) if "parent" in entry else None,
        side=entry.get("side"),
        radlex=codes.get(name, {}).get("radlex"),
        synonyms=tuple(text.format(**blanks) for text in entry.get("synonyms", ())),
        is_region=is_region,
        is_host=entry.get("host", not is_region),
        snomed=codes.get(name, {}).get("snomed"),
    )


@cache
def organs() -> dict[str, OrganTerm]:
    """Every organ by its name."""
    document, codes = (yaml.safe_load((_HERE / f"{name}.yaml").read_text()) for name in ("organs", "organ_codes"))
    terms = [_term(*entry, codes["codes"]) for entry in _entries(document)]
    return {term.name: term for term in terms}


@cache
def findings() -> dict[str, FindingTerm]:
    """Every finding by its name."""
    from medclm.data.knowledge.base import knowledge_base  # the base checks its organs against this module

    return {
        name: FindingTerm(name, finding.plural, finding.organs, finding.synonyms)
        for name, finding in knowledge_base().findings.items()
    }


@cache
def _organ_index() -> dict[str, str]:
    index = {normal_name(term.name): term.name for term in organs().values()}
    for term in organs().values():
        for synonym in term.synonyms:
            index.setdefault(normal_name(synonym), term.name)
    return index


@cache
def _finding_index() -> dict[str, str]:
    return {
        normal_name(word): term.name
        for term in findings().values()
        for word in (term.name, term.plural, *term.synonyms)
    }


def organ_name(raw: str) -> str | None:
    """The vocabulary's name for an organ as some tool writes it ("lung_lower_lobe_left"), or None if it is unknown."""
    return _organ_index().get(normal_name(raw))


def finding_name(raw: str) -> str | None:
    """The vocabulary's name for a finding as some dataset writes it ("Pleural effusion"), or None if it is unknown."""
    return _finding_index().get(normal_name(raw))


def findings_named(text: str, others: Iterable[str] = ()) -> set[str]:
    """The findings that a text names, singular or plural: of the vocabulary, and those of ``others``.

    The longest name counts: "a pericardial effusion" names no effusion.
    """
    names, pattern = _names_in_text(frozenset(others).difference(findings()))
    return {names[found] for found in pattern.findall(text.lower())}


@lru_cache(maxsize=256)
def _names_in_text(others: frozenset[str]) -> tuple[dict[str, str], re.Pattern[str]]:
    """Findings by each name in lower case, and the pattern that finds those names, the longest first."""
    names = {word.lower(): term.name for term in findings().values() for word in (term.name, term.plural)}
    for other in sorted(others):
        names |= {word.lower(): other for word in (finding_text(other, 2), other)}
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return names, re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b")


def organ_path(name: str) -> tuple[str, ...]:
    """From the outermost ancestor down to ``name``: ("body", "thorax", "lungs", "left_lung", "left_lower_lobe")."""
    path = [name]
    while (parent := organs()[path[0]].parent) is not None:
        path.insert(0, parent)
    return tuple(path)


@cache
def pair_of(name: str) -> tuple[str, str] | None:
    """(left, right): the two organs that ``name`` is the pair of ("lungs": left_lung, right_lung); None for others."""
    if organs()[name].side != "bilateral":
        return None
    left, right = ([t.name for t in organs().values() if t.parent == name and t.side == s] for s in SIDES)
    return (left[0], right[0]) if len(left) == len(right) == 1 else None


def is_admissible(finding: str, organ: str) -> bool:
    """Whether ``organ`` can hold ``finding``. A finding outside the vocabulary may lie anywhere."""
    term = findings().get(finding)
    return term is None or bool(set(term.organs) & set(organ_path(organ)))


def organ_text(name: str) -> str:
    """The organ in words; a name outside the vocabulary has its underscores replaced."""
    term = organs().get(name)
    return term.text if term else name.replace("_", " ")


def finding_text(name: str, count: int = 1) -> str:
    """The finding in words, in the plural for a count other than one."""
    term = findings().get(name)
    if term is None:
        return name if count == 1 else f"{name} findings"
    return term.name if count == 1 else term.plural
