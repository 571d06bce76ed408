"""Token and cost estimates, by hand."""

from __future__ import annotations

import pytest

from medclm.data.rewrite.cost import Estimate, check_cost, estimate
from medclm.errors import MedclmError

PROMPT = [{"role": "system", "content": "x" * 39}, {"role": "user", "content": "y" * 80}]


def test_four_characters_are_a_token():
    found = estimate([PROMPT, PROMPT], 10.0, 100.0)
    assert found == Estimate(
        requests=2, tokens_in=2 * (10 + 4 + 20 + 4), tokens_out=40, cost=(76 * 10 + 40 * 100) / 1e6
    )
    assert found.scaled(3) == Estimate(6, 228, 120, found.cost * 3)


def test_a_tokenizer_counts_better():
    assert estimate([PROMPT], 1.0, 1.0, len).tokens_in == 39 + 4 + 80 + 4


def test_the_limit():
    found = Estimate(2, 76, 40, 1.5)
    check_cost(found, None)
    check_cost(found, 1.5)
    with pytest.raises(MedclmError, match="more than allowed") as caught:
        check_cost(found, 1.49)
    assert caught.value.details["got"] == "2 requests, about 76 tokens in and 40 out: 1.50"
