"""What one file of the knowledge base may say: the shape of a finding and of an organ, and how a file is read."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medclm.errors import MedclmError

Sentence = Annotated[str, Field(pattern=r"^[A-Z][^\n]*\.$")]
"""One plain line that starts with a capital and ends with a full stop."""
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
"""Part of a fact's id. It never changes once it is published; the sentence behind it may."""
Word = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Codes(_Model):
    """Ids of the same thing elsewhere: a finding model (Open Imaging Finding Model), RadLex, SNOMED CT."""

    oifm: str | None = Field(default=None, pattern=r"^OIFM_[A-Z]+_\d+$")
    radlex: str | None = Field(default=None, pattern=r"^RID\d+$")
    snomed: str | None = Field(default=None, pattern=r"^\d+$")


class Sign(_Model):
    """What the look of a finding says: an attribute with one of these values speaks for one claim and against another.

    ``when`` maps attributes to values; one of them is enough.
    """

    when: dict[str, tuple[str, ...]] = Field(min_length=1)
    speaks_for: Word
    speaks_against: Word
    text: Sentence

    @model_validator(mode="after")
    def _distinct(self) -> Sign:
        if self.speaks_for in self.speaks_against or self.speaks_against in self.speaks_for:
            raise ValueError(f"the claims {self.speaks_for!r} and {self.speaks_against!r} contain each other")
        return self


class Differential(_Model):
    """What else the picture could be. ``findings`` are names of the base, ``other`` is free text.

    ``at``: the organs that the list is written for; empty where it holds wherever the finding lies.
    """

    findings: tuple[str, ...] = ()
    other: tuple[Word, ...] = ()
    at: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.findings, *self.other)


class FindingDocument(_Model):
    """One finding.

    Attributes:
        name, plural: as a sentence names it; words, lower case.
        synonyms: other words for it, those of datasets too. No two findings claim one.
        organs: organs of the vocabulary that can hold it, whatever lies below them included.
        home: the one organ that usually holds it; None where no single one does.
        zones: lung zones that it prefers; empty where none.
        attributes: allowed values by attribute. Keys in words ("internal structure").
        definition, place, significance: what it is, where it is usually seen, what it means for the patient.
        signs: attributes that speak for or against a claim.
        supports, against: signs in words that speak for the finding itself, or against it.
        not_deniable: findings whose absence cannot be stated where this one is present: what it is a kind of, may be
            a sign of, or is called by another reader.
        not_differential: what a test may offer as a wrong answer: surely no differential diagnosis of it.
        source: of every fact of this file that ``sources`` does not name.
    """

    name: Word
    plural: Word
    synonyms: tuple[Word, ...] = ()
    codes: Codes = Codes()
    organs: tuple[str, ...] = Field(min_length=1)
    home: str | None = None
    zones: tuple[Literal["upper", "middle", "lower"], ...] = ()
    attributes: dict[str, Annotated[tuple[Word, ...], Field(min_length=1)]] = {}
    definition: Sentence
    place: Sentence
    significance: Sentence
    signs: dict[Key, Sign] = {}
    supports: dict[Key, Sentence] = {}
    against: dict[Key, Sentence] = {}
    not_deniable: tuple[str, ...] = ()
    differential: Differential = Differential()
    not_differential: tuple[Word, ...] = ()
    source: Word = "textbook"
    sources: dict[str, Word] = {}

    @property
    def key(self) -> str:
        """The name as file names and fact ids write it: ``pleural_thickening``."""
        return self.name.replace(" ", "_").replace("-", "_")

    @model_validator(mode="after")
    def _consistent(self) -> FindingDocument:
        for name, sign in self.signs.items():
            for claim in (sign.speaks_for, sign.speaks_against):
                if claim in self.name:
                    raise ValueError(f"sign {name}: the claim {claim!r} only repeats the finding's name")
            for key, values in sign.when.items():
                unknown = set(values) - set(self.attributes.get(key, ()))
                if unknown or not values:
                    raise ValueError(f"sign {name}: {key!r} has no allowed value {sorted(unknown)} in attributes")
        if both := set(self.differential.all) & set(self.not_differential):
            raise ValueError(f"{sorted(both)} are both a differential diagnosis and none")
        return self


class Function(_Model):
    """What an organ does: ``answer`` in a few words, ``text`` as a sentence."""

    answer: Word
    text: Sentence


class OrganDocument(_Model):
    """One organ, or a group of alike ones.

    Attributes:
        organs: names of the organ vocabulary that it describes; what lies below them is described too, unless an
            entry of its own does.
        plural: whether its name takes a plural verb ("the kidneys belong").
        system: the body system it belongs to; None where books differ or it belongs to several.
        also: systems that it could be said to belong to as well; never a wrong answer.
        neighbours: keys of other entries. A pair is stated once, by either.
        not_neighbours: keys of entries that a test may offer as wrong answers: surely far away.
    """

    organs: tuple[str, ...] = Field(min_length=1)
    plural: bool = False
    codes: Codes = Codes()
    system: str | None = None
    also: tuple[str, ...] = ()
    function: Function
    neighbours: tuple[str, ...] = ()
    not_neighbours: tuple[str, ...] = ()
    sources: dict[str, Word] = {}


class Header(_Model):
    """``base.yaml``: the version, the systems of the body, and what each kind of source is."""

    version: int = Field(ge=1)
    systems: tuple[Word, ...]
    sources: dict[str, str]


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain YAML, but a key that is written twice in one mapping is an error instead of the last one's win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.MarkedYAMLError(problem=f"the key {twice[0]!r} is there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The parsed file. Raises MedclmError with the file's name where it is no YAML or repeats a key."""
    try:
        return yaml.load(path.read_text(), Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise MedclmError("a file is not valid YAML", where=path, got=" ".join(str(error).split())) from error


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], data: Any, where: object) -> M:
    """``data`` as ``model``. Raises MedclmError that names every wrong field."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise MedclmError(
            f"{model.__name__} is not valid", where=where, got=faults, remedy="correct the file"
        ) from error
