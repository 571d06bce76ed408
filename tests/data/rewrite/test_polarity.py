"""What each negation denies."""

from __future__ import annotations

import pytest

from medclm.data.rewrite.lexicon import lexicon
from medclm.data.rewrite.polarity import denied


@pytest.mark.parametrize(
    ("text", "words", "loose"),
    [
        ("There is a nodule.", [], 0),
        ("There is no nodule.", ["nodule"], 0),
        ("No nodule, mass or effusion is seen.", ["nodule", "mass", "effusion"], 0),
        ("No nodule and no mass.", ["nodule", "mass"], 0),
        ("There is no nodule and a mass.", ["nodule"], 0),
        ("There is no nodule, but a mass is seen.", ["nodule"], 0),
        ("A mass is not present in the left lung.", ["mass"], 0),
        ("A nodule and a mass are absent.", ["nodule", "mass"], 0),
        ("Neither a nodule nor a mass is seen.", ["nodule", "mass"], 0),
        ("Calcification absent, spiculation none.", ["calcification", "spiculation"], 0),
        ("with absent calcification", ["calcification"], 0),
        ("The heart is not normal.", ["normal"], 0),
        ("The heart is free of findings.", ["findings"], 0),
        ("The heart is not free of findings.", ["findings"], 1),
        ("It does not lie in the left lung.", [], 1),
        ("There is no abnormal finding.", ["abnormal", "finding"], 0),
        ("A nodule that is not round.", ["round"], 0),
        ("There is no doubt that a mass is seen.", [], 0),
    ],
)
def test_denied(text, words, loose):
    tokens = lexicon().tokens(text)
    flags, governing_nothing = denied(tokens)
    assert [token.text for token, flag in zip(tokens, flags, strict=True) if flag] == words
    assert governing_nothing == loose
