"""Maps of label tables: what is refused, and which columns a table must have."""

from __future__ import annotations

import pytest

from medclm.data import harmonise
from medclm.data.readers.label_columns import CHEXPERT, MIMIC_CXR, NIH_LABELS, LabelColumns
from medclm.errors import UsageError


@pytest.mark.parametrize(
    "columns",
    [
        {"image": "file"},
        {"labels": ["Edema"]},
        {"image": "file", "study_folder": "s{id}", "labels": ["Edema"]},
        {"image": "file", "labels": ["Edema"], "listed": "Labels"},
        {"image": "file", "labels": ["Edema"], "complete": True},
        {"image": "file", "listed": "Edema", "separator": ""},
        {"image": "file", "labels": ["Edema"], "patient_pattern": "a"},
        {"image": "file", "labels": ["Edema"], "patient_pattern": "("},
        {"image": "file", "labels": ["Edema"], "other": "x"},
        None,
    ],
)
def test_wrong_maps(columns):
    with pytest.raises(UsageError, match="column map"):
        LabelColumns.of(columns)


def test_the_columns_that_a_table_must_have():
    assert NIH_LABELS.columns == ["Image Index", "Finding Labels", "View Position"]
    assert MIMIC_CXR.columns[:3] == ["subject_id", "study_id", "study_id"]
    assert MIMIC_CXR.study_columns == ["study_id"]
    assert LabelColumns.of({"image": "file", "labels": ["Edema"]}).columns == ["file", "Edema"]


def test_every_chexpert_label_is_known():
    kinds = [harmonise.meaning(label, "chexpert").kind for label in CHEXPERT.labels]
    assert kinds == ["no-finding", *["finding"] * 13]
