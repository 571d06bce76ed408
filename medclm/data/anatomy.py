"""The closed vocabulary of organs and findings: parents, sides, synonyms, and which organ can hold which finding.

Organs live in ``organs.yaml`` beside this file, findings in ``knowledge/findings``; this module only looks them up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class OrganTerm:
    """One organ of the vocabulary. ``side`` is the patient's; ``radlex`` is a RadLex id or None.

    A region (thorax, abdomen, …) groups organs: a mask of it may exist, but it is never made from its parts' masks.
    """

    name: str
    parent: str | None
    side: str | None
    radlex: str | None
    synonyms: tuple[str, ...]
    is_region: bool = False

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


def _expand(document: dict[str, Any]) -> list[OrganTerm]:
    terms = []

    def add(name: str, entry: dict[str, Any], **blanks: object) -> None:
        fill = lambda text: text.format(**blanks) if text else text  # noqa: E731
        terms.append(
            OrganTerm(
                name=name,
                parent=fill(entry.get("parent")),
                side=str(blanks["side"]) if "side" in blanks else entry.get("side"),
                radlex=entry.get("radlex"),
                synonyms=tuple(fill(text) for text in entry.get("synonyms", ())),
                is_region=entry.get("region", False),
            )
        )

    for name, entry in document["single"].items():
        add(name, entry or {})
    for side in ("left", "right"):
        for name, entry in document["paired"].items():
            add(f"{side}_{name}", entry, side=side)
        rib = document["numbered"]["rib"]
        for n in range(1, rib["count"] + 1):
            add(f"{side}_rib_{n}", rib, side=side, n=n)
    vertebra = document["numbered"]["vertebra"]
    for letter, count in vertebra["levels"].items():
        for n in range(1, count + 1):
            add(f"vertebra_{letter}{n}", {**vertebra, "side": "midline"}, level=f"{letter.upper()}{n}")
    return terms


@cache
def organs() -> dict[str, OrganTerm]:
    """Every organ by its name."""
    document = yaml.safe_load((_HERE / "organs.yaml").read_text())
    return {term.name: term for term in _expand(document)}


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
