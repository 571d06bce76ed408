"""Segments of a SEG object: what is an organ, and what a segment is called."""

from __future__ import annotations

import pytest

from medclm.data.readers.dicom_segments import segment_of
from tests.data.readers.dicom_files import item

CATEGORIES = {
    "Anatomical Structure": "123037004",
    "Tissue": "85756007",
    "Morphologically Altered Structure": "49755003",
}


def segment(category, kind, label="", modifier=""):
    coded = item(CodeValue="1", CodeMeaning=kind)
    if modifier:
        coded.SegmentedPropertyTypeModifierCodeSequence = [item(CodeValue="2", CodeMeaning=modifier)]
    return item(
        SegmentNumber=3, SegmentLabel=label, SegmentAlgorithmType="AUTOMATIC",
        SegmentedPropertyTypeCodeSequence=[coded],
        SegmentedPropertyCategoryCodeSequence=[item(CodeValue=CATEGORIES[category], CodeMeaning=category)],
        AnatomicRegionSequence=[item(CodeValue="4", CodeMeaning="Abdomen")],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "is_organ", "organ", "label"),
    [
        (segment("Anatomical Structure", "Liver"), True, "liver", "Liver"),
        (segment("Tissue", "Liver"), True, "liver", "Liver"),
        (segment("Anatomical Structure", "Lung", modifier="Left"), True, "left_lung", "Left Lung"),
        (segment("Anatomical Structure", "Organ", label="lung_lower_lobe_left"), True, "left_lower_lobe", None),
        (segment("Anatomical Structure", "Capillary", label="x"), True, None, "Capillary"),
        (segment("Morphologically Altered Structure", "Neoplasm"), False, None, "Neoplasm"),
        (segment("Morphologically Altered Structure", "Liver"), False, None, "Liver"),
        (segment("Tissue", "Nodule"), False, None, "Nodule"),
    ],
)
def test_organs_and_lesions(made, is_organ, organ, label):
    found = segment_of(made, "auto")
    assert (found.is_organ, found.organ) == (is_organ, organ)
    assert found.label_raw == (label or "lung_lower_lobe_left")


def test_labels_and_attributes():
    made = segment("Morphologically Altered Structure", "Neoplasm", label="Segment_1", modifier="Right")
    assert segment_of(made, "auto").label_raw == "Right Neoplasm"
    assert segment_of(made, "type").label_raw == "Right Neoplasm"
    assert segment_of(made, "segment").label_raw == "Segment_1"
    assert segment_of(made, "auto").attributes == {
        "segment_number": 3,
        "algorithm_type": "automatic",
        "property_category": "Morphologically Altered Structure",
        "property_type": "Right Neoplasm",
        "finding_site": "Abdomen",
    }


def test_a_segment_with_a_label_only():
    assert segment_of(item(SegmentNumber=1, SegmentLabel="tumour"), "auto").label_raw == "tumour"
