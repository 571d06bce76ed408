"""The classes of other people's segmenters, in order, and what the vocabulary calls them. One YAML file each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from medclm.data import anatomy
from medclm.errors import MedclmError, UsageError

_HERE = Path(__file__).parent


@cache
def labels(name: str) -> dict[int, str]:
    """Label value (or output channel) to the tool's own word.

    Args:
        name: a file of this folder without ``.yaml``.

    Raises:
        UsageError: there is no such file.
    """
    path = _HERE / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in _HERE.glob("*.yaml"))
        raise UsageError("there is no such list of labels", got=name, expected=", ".join(known))
    document = yaml.safe_load(path.read_text())
    return dict(enumerate(document["labels"], document["first"]))


@cache
def organ_labels(name: str) -> dict[int, str]:
    """Label value (or output channel) to the organ of the vocabulary."""
    return organs_of(labels(name), name)


def organs_of(labels: dict[int, str], where: str) -> dict[int, str]:
    """Label values to organs of the vocabulary, from any words.

    Raises:
        MedclmError: a word is no name and no synonym of the vocabulary; every such word is listed.
    """
    found = {value: anatomy.organ_name(word) for value, word in labels.items()}
    if unknown := sorted(labels[value] for value, organ in found.items() if organ is None):
        raise MedclmError(
            "labels of a segmenter name no known organ",
            where=where,
            expected="names or synonyms of medclm/data/organs.yaml",
            got=", ".join(unknown),
            remedy="use the vocabulary's names, or leave the labels out",
        )
    return {value: organ for value, organ in found.items() if organ is not None}
