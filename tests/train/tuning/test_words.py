"""What a search found, in words."""

from __future__ import annotations

from medclm.train.tuning.words import sentence, show
from tests.train.tuning.comparisons import comparison, interval


def test_the_sentence_says_what_the_interval_says():
    better = comparison(interval(0.1, 0.02, 0.18), True)
    assert sentence(better) == "What was found beats the untuned values by +10.0 points (95 % +2.0 to +18.0)."
    unclear = sentence(comparison(interval(0.03, -0.02, 0.08), False))
    assert unclear.startswith("What was found does not beat the untuned values: +3.0 points (95 % -2.0 to +8.0)")
    assert "is worse than" in sentence(comparison(interval(-0.1, -0.2, -0.05), True))
    assert "nothing to gain" in sentence({"same": True, "seeds": [1]})
    assert "was not compared" in sentence(None)


def test_numbers_have_four_digits():
    assert (show(0.000123456), show(3), show("cosine")) == ("0.0001235", "3", "cosine")
