from __future__ import annotations

import csv
import gzip

import pytest

from medclm.data import anatomy, harmonise
from medclm.data.harmonise import Meaning, meaning, unknown_labels
from medclm.errors import MedclmError
from tests.data.helpers import finding, record

SIZES = {
    "chestx_det": 13, "chexpert": 15, "deeplesion": 17, "general": 8, "lidc": 5, "luna16": 3, "nih": 16, "padchest": 99,
    "rsna": 5, "siim": 4, "slake": 54, "vindr": 29,
}  # fmt: skip
"""NIH: 14, No Finding and the box list's Infiltrate. VinDr: 22 + 6 and the plural. CheXpert: 14 and an older name."""


def test_every_dataset_has_its_table():
    sizes = {name: len(table.labels) + len(table.codes) for name, table in harmonise.tables().items()}
    assert sizes == SIZES


@pytest.mark.parametrize("name", sorted(SIZES))
def test_every_label_has_a_meaning_and_words_mean_it_in_any_dataset(name):
    table = harmonise.tables()[name]
    for label, means in {**table.labels, **table.codes}.items():
        found = meaning(label, table.names[0])
        assert found.kind == (means if means in ("no-finding", "kept") else "finding")
        assert found.finding == (None if found.kind != "finding" else means)
    for label in table.labels:
        assert meaning(label, "some other set").finding == meaning(label, table.names[0]).finding


@pytest.mark.parametrize(
    ("label", "dataset", "expected"),
    [
        ("Pleural_Thickening", "NIH", Meaning("finding", "pleural thickening")),
        ("4", "deeplesion", Meaning("finding", "lesion", ("liver",))),
        ("4", "", Meaning("unknown")),
        ("lung", "", Meaning("unknown")),
        ("1", "rsna", Meaning("finding", "opacity")),
        ("0", "luna16", Meaning("no-finding")),
        ("Other diseases", "vindr", Meaning("kept")),
        ("normal", "toy", Meaning("no-finding")),
        ("Brain Edema", "toy", Meaning("finding", "brain edema")),
        ("Edema", "toy", Meaning("finding", "pulmonary edema")),
        ("Odd Thing", "nih", Meaning("unknown")),
    ],
)
def test_meanings(label, dataset, expected):
    assert meaning(label, dataset) == expected


def test_what_nobody_knows_is_counted_by_its_raw_label():
    boxed = finding("odd thing").model_copy(update={"label_raw": "Odd Thing"})
    one = record([boxed], labels=("nodule", "Other diseases"), labels_absent=("strange",))
    one = one.model_copy(update={"dataset": "vindr"})
    two = record([finding("RBC"), finding("nodule", n=2)], labels=("Odd Thing",))
    assert unknown_labels([one, two]) == {"Odd Thing": 2, "RBC": 1, "strange": 1}
    assert next(iter(unknown_labels([two, one]))) == "Odd Thing"


def test_published_labels_are_known_whole(real_data):
    with gzip.open(real_data("nih-bbox") / "BBox_List_2017.csv.gz", "rt") as file:
        labels = {row[1] for row in csv.reader(file)} - {"Finding Label"}
    assert {label: meaning(label, "nih").kind for label in labels} == dict.fromkeys(labels, "finding")
    assert len(labels) == 8


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("title: t\nnames: [a]\nlabels: {X: bubble}\n", "unknown finding"),
        ("title: t\nnames: [a]\nlabels: {X: nodule}\nhosts: {X: [wing]}\n", "unknown organ"),
        ("title: t\nnames: [a]\nlabels: {X: nodule, x: mass}\n", "stated twice"),
        ("title: t\nnames: [b]\n", "two tables"),
        ("title: t\n", "names"),
    ],
)
def test_a_faulty_table_stops_the_load(tmp_path, text, fault):
    (tmp_path / "b.yaml").write_text("title: first\nnames: [b]\n")
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(MedclmError, match=fault):
        harmonise.load(tmp_path)


def test_no_word_for_a_finding_is_a_word_for_an_organ():
    for term in anatomy.findings().values():
        for word in (term.name, term.plural, *term.synonyms):
            assert anatomy.organ_name(word) is None, word


def test_the_hash_is_of_the_tables():
    assert len(harmonise.content_hash()) == 64
