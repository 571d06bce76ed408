"""Words to tokens."""

from __future__ import annotations

import pytest

from medclm.data.rewrite.lexicon import lexicon, stem, words_of


def test_words():
    assert words_of("It isn't 12mm, it's 1.2-cm (3%).") == [
        "it", "is", "not", "12", "mm", ",", "it", "s", "1.2", "cm", "(", "3", "%", ")", ".",
    ]  # fmt: skip
    assert words_of("can’t, cannot") == ["can", "not", ",", "can", "not"]
    assert words_of("1,5 cm but 1,500 mm")[:2] == ["1.5", "cm"]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("left lower lobe", [("side", "left"), ("organ", "lower_lobe")]),
        ("left-sided pleural effusion", [("side", "left"), ("finding", "effusion")]),
        ("pericardial effusion", [("finding", "pericardial effusion")]),
        ("pulmonary nodule", [("organ", "lung"), ("finding", "nodule")]),
        ("renal cyst", [("organ", "kidney"), ("finding", "cyst")]),
        ("part-solid", [("value", "part solid")]),
        ("twelve millimetres", [("number", "12"), ("unit", "mm")]),
        ("vertebra T12", [("organ", "vertebra_t12")]),
        ("shows", [("neutral", "shows")]),
        ("sarcoma", [("unknown", "sarcoma")]),
        ("upper zone", [("zone", "upper"), ("zone-word", "zone_words")]),
    ],
)
def test_tokens(text, kinds):
    found = [(token.kind, token.value) for token in lexicon().tokens(text)]
    assert found == [(kind, value if value != "zone_words" else "zone-word") for kind, value in kinds]


def test_stems_join_inflections():
    for words in (("show", "shows", "showing", "showed"), ("contain", "contained", "contains"), ("locate", "located")):
        assert len({stem(word) for word in words}) == 1
    assert stem("mass") == "mass"


def test_plurals():
    assert [token.plural for token in lexicon().tokens("nodule nodules")] == [False, True]
