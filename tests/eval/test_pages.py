"""How pages write numbers, and that a page comes from one file."""

from __future__ import annotations

from medclm.eval.pages import interval, number, percent, pvalue, render_page, signed


def test_numbers_as_a_reader_sees_them():
    assert (percent(0.6542), percent(None)) == ("65.4 %", "–")
    assert (number(0.12345, 4), number(None)) == ("0.1235", "–")
    assert (pvalue(0.0312), pvalue(0.0001), pvalue(None)) == ("p 0.031", "p < 0.001", "–")
    assert (signed(0.032), signed(-0.1)) == ("+3.2", "-10.0")


def test_an_interval_with_a_minus_is_told_from_a_dash():
    assert interval({"low": 0.612, "high": 0.698}) == "61.2–69.8"
    assert interval({"low": -0.246, "high": -0.155}) == "-24.6 to -15.5"
    assert interval({"low": -0.047, "high": 0.002}) == "-4.7 to 0.2"
    assert (interval(None), interval({"low": None, "high": None})) == ("–", "–")


def test_the_ablation_page_needs_nothing_else_and_says_what_it_is_not():
    number_of = {"value": 0.5, "low": 0.4, "high": 0.6}
    lead = {"value": -0.2, "low": -0.3, "high": -0.1}
    arms = [
        {"name": "ours", "says": "a & b", "flat": False, "accuracy": number_of, "by_seed": [0.5], "lead": None,
         "p_holm": None},
        {"name": "other", "says": "", "flat": True, "accuracy": number_of, "by_seed": [0.5], "lead": lead,
         "p_holm": 0.01},
    ]  # fmt: skip
    document = {"arms": arms, "seeds": [0], "steps": 1, "questions": 5, "reference": "ours", "verdict": None}
    page = render_page("ablation.html.jinja", title="Ablation", d=document, bar=lambda *_: "")
    assert "a &amp; b" in page
    assert "-30.0 to -10.0" in page
    assert "not a medical device" in page
    assert "http://" not in page
    assert "https://" not in page
