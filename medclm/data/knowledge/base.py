"""The knowledge base, read and checked as a whole: every fact by its id, every reference resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from medclm.data import anatomy
from medclm.data.knowledge.documents import FindingDocument, Header, OrganDocument, parse, read_yaml
from medclm.errors import MedclmError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Fact:
    """One sentence that a reasoning step can cite.

    ``id`` is stable: ``finding.nodule.definition``, ``finding.nodule.sign.spiculated``, ``organ.liver.function``.
    ``source`` is a kind of source that ``base.yaml`` explains, with the place in it: ``textbook``, ``radlex:RID58``,
    ``slake-kg:Liver/position``.
    """

    id: str
    text: str
    source: str


@dataclass(frozen=True)
class Base:
    """The whole base. ``findings`` by name, ``organs`` by key; ``sha256`` is of every file it was read from."""

    version: int
    systems: tuple[str, ...]
    findings: dict[str, FindingDocument]
    organs: dict[str, OrganDocument]
    facts: dict[str, Fact]
    sha256: str

    @cached_property
    def described_by(self) -> dict[str, str]:
        """Keys of the entries by the organ names they list."""
        return {name: key for key, organ in self.organs.items() for name in organ.organs}

    @cached_property
    def neighbours(self) -> dict[str, frozenset[str]]:
        """Neighbours by organ key, both ways."""
        found: dict[str, set[str]] = {key: set() for key in self.organs}
        for key, organ in self.organs.items():
            for other in organ.neighbours:
                found[key].add(other)
                found[other].add(key)
        return {key: frozenset(others) for key, others in found.items()}

    def organ_key(self, organ: str) -> str | None:
        """The entry that describes an organ of the vocabulary: its own, or that of the nearest organ it is part of.

        A region (thorax, mediastinum) describes itself only, none of the organs in it.
        """
        terms = anatomy.organs()
        if organ not in terms:
            return None
        for name in reversed(anatomy.organ_path(organ)):
            if name != organ and terms[name].is_region:
                return None
            if name in self.described_by:
                return self.described_by[name]
        return None


def load(folder: Path = FOLDER) -> Base:
    """Reads ``base.yaml``, ``organs/*.yaml`` and ``findings/*.yaml`` of a folder.

    Raises:
        MedclmError: a file is not valid; an attribute has no values; an organ, a finding, a system or a source is not
            known; a name, a synonym or a fact's id is claimed twice.
    """
    header = parse(Header, read_yaml(folder / "base.yaml"), folder / "base.yaml")
    organs: dict[str, OrganDocument] = {}
    for path in sorted((folder / "organs").glob("*.yaml")):
        for key, entry in read_yaml(path).items():
            if key in organs:
                raise MedclmError("an organ has two entries", where=path, got=key)
            organs[key] = parse(OrganDocument, entry, f"{path}, {key}")
    findings: dict[str, FindingDocument] = {}
    for path in sorted((folder / "findings").glob("*.yaml")):
        finding = parse(FindingDocument, read_yaml(path), path)
        if path.stem != finding.key:
            raise MedclmError("a finding's file bears another name", where=path, expected=f"{finding.key}.yaml")
        findings[finding.name] = finding
    _check_claims(findings, organs)
    _check_references(findings, organs, header)
    return Base(
        version=header.version,
        systems=header.systems,
        findings=findings,
        organs=organs,
        facts=_collect(findings, organs, header),
        sha256=_hash(folder),
    )


@cache
def knowledge_base() -> Base:
    """The base that this package ships."""
    return load()


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.yaml")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _check_claims(findings: dict[str, FindingDocument], organs: dict[str, OrganDocument]) -> None:
    """No two findings claim one word, no two entries one organ."""
    owner: dict[str, str] = {}
    for finding in findings.values():
        for word in {anatomy.normal_name(w) for w in (finding.name, finding.plural, *finding.synonyms)}:
            if word in owner:
                raise MedclmError(
                    f"the word {word!r} is claimed twice", where=f"findings/{finding.key}.yaml", got=owner[word]
                )
            owner[word] = finding.name
    described: dict[str, str] = {}
    for key, organ in organs.items():
        for name in organ.organs:
            if name in described:
                raise MedclmError(f"the organ {name!r} is described twice", where=key, got=described[name])
            described[name] = key


def _check_references(findings: dict[str, FindingDocument], organs: dict[str, OrganDocument], header: Header) -> None:
    """Every organ, finding, system and kind of source that is named exists."""
    terms = anatomy.organs()
    for finding in findings.values():
        where = f"findings/{finding.key}.yaml"
        home = (finding.home,) if finding.home else ()
        _known("organ", (*finding.organs, *home, *finding.differential.at), terms, where)
        _known("finding", (*finding.differential.findings, *finding.not_deniable), findings, where)
        _known("source", {s.split(":")[0] for s in (finding.source, *finding.sources.values())}, header.sources, where)
    for key, organ in organs.items():
        where = f"organs, {key}"
        _known("organ", organ.organs, terms, where)
        _known("neighbour", (*organ.neighbours, *organ.not_neighbours), organs, where)
        if both := [o for o in organ.not_neighbours if o in organ.neighbours or key in organs[o].neighbours]:
            raise MedclmError("an organ is a neighbour and none", where=where, got=", ".join(both))
        _known("system", (*((organ.system,) if organ.system else ()), *organ.also), header.systems, where)
        _known("source", {s.split(":")[0] for s in organ.sources.values()}, header.sources, where)


def _known(kind: str, names: Iterable[str], known: Iterable[str], where: str) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise MedclmError(f"a {kind} is not known", where=where, got=", ".join(unknown), remedy="correct the name")


def _collect(findings: dict[str, FindingDocument], organs: dict[str, OrganDocument], header: Header) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for where, sources, made in (
        *((f"findings/{f.key}.yaml", f.sources, _finding_facts(f)) for f in findings.values()),
        *((f"organs, {key}", o.sources, _organ_facts(key, o, organs)) for key, o in organs.items()),
    ):
        own = {fact.id: fact for fact in made}
        if twice := own.keys() & facts.keys():
            raise MedclmError("an id of a fact is there twice", where=where, got=", ".join(sorted(twice)))
        stems = {".".join(name.split(".")[2:]) for name in own}
        _known("fact with a source of its own", set(sources) - {"attributes"}, stems, where)
        facts |= own
    return facts


def _finding_facts(finding: FindingDocument) -> Iterator[Fact]:
    texts = {"definition": finding.definition, "place": finding.place, "significance": finding.significance}
    texts |= {f"sign.{key}": sign.text for key, sign in finding.signs.items()}
    texts |= {f"supports.{key}": text for key, text in finding.supports.items()}
    texts |= {f"against.{key}": text for key, text in finding.against.items()}
    if finding.differential.all:
        at = [f"the {anatomy.organ_text(organ)}" for organ in finding.differential.at]
        subject = f"{finding.name} in {listed(at)}" if at else finding.name
        texts["differential"] = f"The differential diagnosis of {subject} includes {listed(finding.differential.all)}."
    for stem, text in texts.items():
        yield Fact(f"finding.{finding.key}.{stem}", text, finding.sources.get(stem, finding.source))


def _organ_facts(key: str, organ: OrganDocument, organs: dict[str, OrganDocument]) -> Iterator[Fact]:
    texts = {"function": organ.function.text}
    name = key.replace("_", " ")
    if organ.system:
        texts["system"] = f"The {name} {'belong' if organ.plural else 'belongs'} to the {organ.system}."
    near = sorted({*organ.neighbours, *(other for other, entry in organs.items() if key in entry.neighbours)})
    if near:
        around = listed([f"the {other.replace('_', ' ')}" for other in near])
        texts["neighbours"] = f"The {name} {'lie' if organ.plural else 'lies'} next to {around}."
    for stem, text in texts.items():
        yield Fact(f"organ.{key}.{stem}", text, organ.sources.get(stem, "textbook"))


def listed(words: tuple[str, ...] | list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
