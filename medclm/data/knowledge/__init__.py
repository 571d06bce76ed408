"""Radiological knowledge that reasoning steps cite and questions ask about: plain files, one fact an id.

The files are ``base.yaml`` (version, sources), ``organs/*.yaml`` and ``findings/*.yaml``; README.md says how a
radiologist corrects them. They are read and checked once, as a whole; a fault stops the job and names the file.
"""

from __future__ import annotations

from collections.abc import Iterable

from medclm.data import anatomy
from medclm.data.knowledge.base import Base, Fact, knowledge_base, load
from medclm.errors import UsageError

__all__ = [
    "Base",
    "Fact",
    "attribute_values",
    "content_hash",
    "fact",
    "finding_facts",
    "knowledge_base",
    "load",
    "not_deniable",
    "organ_facts",
    "version",
]


def fact(fact_id: str) -> Fact:
    """The fact of an id. Raises UsageError where there is none."""
    found = knowledge_base().facts.get(fact_id)
    if found is None:
        raise UsageError("the knowledge base has no such fact", got=fact_id, remedy="see medclm/data/knowledge")
    return found


def finding_facts(finding: str) -> tuple[Fact, ...]:
    """All facts about a finding of the vocabulary, in the order of its file; empty for one outside it."""
    document = knowledge_base().findings.get(finding)
    return _with_prefix(f"finding.{document.key}.") if document else ()


def organ_facts(organ: str) -> tuple[Fact, ...]:
    """All facts about an organ of the vocabulary, or about the organ it is part of; empty where none is described."""
    key = knowledge_base().organ_key(organ)
    return _with_prefix(f"organ.{key}.") if key else ()


def attribute_values(finding: str, attribute: str) -> tuple[str, ...]:
    """The values that an attribute of a finding can take, in their natural order; empty where it has no such attribute.

    ``attribute`` may be written with underscores ("internal_structure").
    """
    document = knowledge_base().findings.get(finding)
    return document.attributes.get(anatomy.normal_name(attribute), ()) if document else ()


def not_deniable(labels: Iterable[str]) -> frozenset[str]:
    """Findings that an image with these labels cannot be said to lack: they themselves, and what each may be as well.

    An image with a consolidation is not asked for the absence of an opacity or of pneumonia.
    """
    found = set(labels)
    known = knowledge_base().findings
    return frozenset(found.union(*(known[label].not_deniable for label in found if label in known)))


def version() -> int:
    """The base's version: raised with every change of a sentence, a value or an id."""
    return knowledge_base().version


def content_hash() -> str:
    """SHA-256, hex, of every YAML file of the base, templates included: part of a build's fingerprint."""
    return knowledge_base().sha256


def _with_prefix(prefix: str) -> tuple[Fact, ...]:
    return tuple(found for fact_id, found in knowledge_base().facts.items() if fact_id.startswith(prefix))
