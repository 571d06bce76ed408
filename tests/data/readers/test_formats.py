"""The list of formats: every entry leads to a reader that takes its fixed options."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from medclm.data.readers import FORMATS, read, segmenter_of
from medclm.errors import UsageError


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_its_reader(name):
    module, _, function = FORMATS[name].function.partition(":")
    parameters = list(inspect.signature(getattr(import_module(f"medclm.data.readers.{module}"), function)).parameters)
    assert parameters[:3] == ["images", "annotations", "dataset"]
    assert {key for key, _ in FORMATS[name].options} <= set(parameters[3:])


def test_names_are_in_order():
    assert list(FORMATS) == sorted(FORMATS)


def test_unknown_formats_and_options(tmp_path):
    with pytest.raises(UsageError, match="no such annotation format"):
        read("tiff", str(tmp_path), str(tmp_path), "toy")
    with pytest.raises(UsageError, match="'voc' has no option 'zero_based'") as caught:
        read("voc", str(tmp_path), str(tmp_path), "toy", {"zero_based": True})
    assert caught.value.details["expected"] == "one_based"


def test_a_format_with_boxes_needs_a_segmenter_that_is_named():
    assert segmenter_of("coco", "masks:DIR") == "masks:DIR"
    with pytest.raises(UsageError, match="no segmenter was named"):
        segmenter_of("coco", "")


@pytest.mark.parametrize("name", ["vqa-rad", "pathvqa", "pmc-vqa", "labels", "chexpert", "mimic-cxr", "padchest"])
def test_a_format_without_boxes_looks_for_no_organs(name):
    assert segmenter_of(name, "") == "none"
    assert segmenter_of(name, "unet:cxr-lungs") == "unet:cxr-lungs"
