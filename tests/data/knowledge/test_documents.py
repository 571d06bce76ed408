from __future__ import annotations

import pytest

from medclm.data.knowledge.documents import Differential, FindingDocument, Sign, parse, read_yaml
from medclm.errors import MedclmError

SPOT = {
    "name": "white spot-like mark",
    "plural": "white marks",
    "organs": ["lungs"],
    "definition": "A mark.",
    "place": "Anywhere.",
    "significance": "None.",
    "attributes": {"edge": ["sharp", "blurred"]},
}


def test_the_key_is_the_name_as_files_write_it():
    assert parse(FindingDocument, SPOT, "here").key == "white_spot_like_mark"
    assert Differential(findings=("a",), other=("b",)).all == ("a", "b")


@pytest.mark.parametrize("when", [{"edge": ["soft"]}, {"colour": ["sharp"]}, {"edge": []}])
def test_a_sign_uses_allowed_values_only(when):
    sign = {"when": when, "speaks_for": "this", "speaks_against": "that", "text": "A sign."}
    with pytest.raises(MedclmError, match="no allowed value"):
        parse(FindingDocument, {**SPOT, "signs": {"soft": sign}}, "here")


def test_the_two_claims_of_a_sign_can_be_told_apart_in_a_question():
    with pytest.raises(ValueError, match="contain each other"):
        Sign(when={"edge": ("sharp",)}, speaks_for="cancer", speaks_against="no cancer", text="A sign.")


@pytest.mark.parametrize(("text", "fault"), [("a: 1\na: 2\n", "'a' is there twice"), ("a: [", "not valid YAML")])
def test_yaml_that_is_broken_or_repeats_a_key_is_refused(tmp_path, text, fault):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(MedclmError) as caught:
        read_yaml(path)
    assert fault in str(caught.value)
    assert str(path) in str(caught.value)
